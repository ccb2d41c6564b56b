"""A Ray cluster: the study runs on it by its address as it does on this machine."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cbt_ray.unit import Stage
from tests.stages import scripted


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A head with two CPUs on this machine.

    Its token is in the environment, as a cluster's operator puts it there.
    """
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
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
    with (tmp_path_factory.mktemp("head") / "log").open("w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **secret})
    try:
        wait_for(port)
        yield f"127.0.0.1:{port}", secret
    finally:
        head.terminate()
        head.wait()


@pytest.fixture
def address(head: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> str:
    """Where it listens."""
    for name, value in head[1].items():
        monkeypatch.setenv(name, value)
    return head[0]


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
def test_what_ray_or_a_user_kills_is_replaced(tmp_path: Path, address: str) -> None:
    store = tmp_path / "store"
    document = scripted.study_document(store, latency=0.3, engine={"address": address})
    process = scripted.start("study", scripted.write_study(tmp_path, document))
    for units, command in ((2, scripted.WORKER), (4, "ray::_Host")):
        scripted.wait_until(partial(has_units, store, units), process)
        os.kill(running(command)[0], signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("a worker is lost (") == 2
    assert "(raylet" not in output
    assert len(scripted.units(store, Stage.SESSIONS)) == 8


@pytest.mark.ray
def test_no_job_waits_for_a_worker_that_has_no_room(tmp_path: Path, address: str) -> None:
    store = tmp_path / "store"
    document = scripted.study_document(store, engine={"address": address, "workers": 3})
    scripted.run("simulate", scripted.write_study(tmp_path, document))
    assert len(scripted.units(store, Stage.SESSIONS)) == 8


def has_units(store: Path, number: int) -> bool:
    """Whether a store has so many units."""
    return len(scripted.units(store)) >= number


def running(command: str) -> list[int]:
    """Processes below the cluster's head, by a part of their command lines."""
    return [pid for pid, line in scripted.descendants(os.getpid()).items() if command in line]


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    document = scripted.study_document(tmp_path / "store", engine={"address": "127.0.0.1:1"})
    output = scripted.run("generate", scripted.write_study(tmp_path, document), expect=1)
    assert output.strip().splitlines()[-1].startswith("cbt-ray: ")
    assert "127.0.0.1:1" in output
