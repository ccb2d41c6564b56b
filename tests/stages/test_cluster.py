"""A Ray cluster that was there before: the study runs on it by its address as it does on a Ray of
its own.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbt_ray.unit import Stage
from tests.stages import scripted


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A head with two CPUs on this machine.

    Its token is in the environment, as a cluster's operator puts it there.
    """
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=2",
    ]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(port)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait()


def wait_for(port: int) -> None:
    """Wait until the head listens."""
    end = time.monotonic() + scripted.PATIENCE_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the head did not start")


@pytest.mark.ray
def test_a_study_runs_on_a_given_cluster(tmp_path: Path, address: str) -> None:
    store = tmp_path / "store"
    document = scripted.study_document(store, engine={"address": address})
    output = scripted.run("study", scripted.write_study(tmp_path, document))
    assert "report:" in output
    assert len(scripted.units(store, Stage.SESSIONS)) == 8


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    document = scripted.study_document(tmp_path / "store", engine={"address": "127.0.0.1:1"})
    output = scripted.run("generate", scripted.write_study(tmp_path, document), expect=1)
    assert output.strip().splitlines()[-1].startswith("cbt-ray: ")
    assert "127.0.0.1:1" in output
