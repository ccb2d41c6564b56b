"""What ends `serve` before anything is served, how vLLM is started, and that it ends with it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.commands import serve as command
from cbt_ray.commands.serve import Place
from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.llm.inquiry import Inquiry
from cbt_ray.study import load_study
from cbt_ray.study.endpoint import VllmEndpoint
from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Status, Unit
from cbt_ray.vllm.holding import Holding
from cbt_ray.vllm.process import command_line
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages.probed import inputs_of
from tests.study.example import example_study, write_study

OWN = {"kind": "vllm", "weights": "finetuned", "dtype": "float32"}
PLAIN = Checkpoint("smollm2", False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A study whose plain model is exported; it is not asked here."""
    arms = [{"name": "plain", "model": "smollm2", "endpoint": "own"}]
    document = example_study(arms=arms, endpoints__own=OWN, store=str(tmp_path / "runs"))
    bench = Bench(load_study(write_study(tmp_path, document)), Silent(), inline=True)
    key = bench.keys.model(PLAIN)
    content: dict[str, Any] = {
        "reference": [{"messages": None, "ids": [1], "said": [], "best": []}]
    }
    bench.store.put(Unit(key, content, made_from=inputs_of(bench, key)))
    return bench


def refusal(bench: Bench, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = run(["serve", str(bench.study.file), "--model", "smollm2", *options])
    return code, capsys.readouterr().err.strip()


def test_what_is_missing_is_said_before_vllm_starts(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, said = refusal(bench, capsys, "--vllm", str(tmp_path / "none"))
    assert (code, f"--vllm: expected the program of vLLM, found none at {tmp_path}" in said) == (
        2,
        True,
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = refusal(bench, capsys, "--vllm", sys.executable, "--port", port)
    assert (code, f"--port: expected one that is free, {port}: " in said) == (2, True)
    code, said = refusal(bench, capsys, "--endpoint", "script")
    assert (code, "--endpoint: expected one of ['own']" in said) == (2, True)
    bench.store.set_aside(str(bench.keys.model(PLAIN)))
    code, said = refusal(bench, capsys)
    assert (code, "owed; run first: cbt-ray export" in said) == (1, True)
    assert run(["serve", str(bench.study.file), "--model", "other"]) == 2


def test_vllm_that_ends_before_it_is_ready_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "bring", lambda *_: Holding(tmp_path, "smollm2", {}, 0))
    place = Place("127.0.0.1", free_port(), program(tmp_path, "raise SystemExit(3)"))
    with pytest.raises(InputError, match="it ended with code 3 before it was ready"):
        command.serve(bench, "smollm2", None, place, lambda _line: None)


def test_the_end_of_serve_is_the_end_of_vllm_and_of_what_it_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started, ready = tmp_path / "started", tmp_path / "ready"
    body = f"import time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    place = Place(
        "127.0.0.1", free_port(), program(tmp_path, STUBBORN.format(body=body)), (), ready
    )
    monkeypatch.setattr(command, "bring", lambda *_: Holding(tmp_path, "smollm2", {}, 0))
    monkeypatch.setattr(Inquiry, "is_healthy", lambda _self: started.exists())
    monkeypatch.setattr(command, "_judge", lambda *_: None)
    said: list[str] = []

    def tell() -> None:
        while not said:
            time.sleep(0.02)
        assert ready.exists()
        os.kill(os.getpid(), signal.SIGTERM)

    teller = threading.Thread(target=tell)
    teller.start()
    command.serve(bench, "smollm2", None, place, said.append)
    teller.join()
    assert not ready.exists()
    child = Path(f"/proc/{started.read_text()}/stat")
    end = time.monotonic() + 600
    while child.exists() and ") Z " not in child.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert not child.exists() or ") Z " in child.read_text()


def test_a_server_that_ends_by_itself_is_no_orderly_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "bring", lambda *_: Holding(tmp_path, "smollm2", {}, 0))
    monkeypatch.setattr(Inquiry, "is_healthy", lambda _self: True)
    monkeypatch.setattr(command, "_judge", lambda *_: None)
    place = Place("127.0.0.1", free_port(), program(tmp_path, "raise SystemExit(4)"))
    with pytest.raises(Infrastructure, match="vLLM ended by itself, with code 4"):
        command.serve(bench, "smollm2", None, place, lambda _line: None)


def test_an_earlier_verdict_is_no_verdict_on_this_server(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = bench.keys.served(PLAIN, "own")
    bench.store.put(Unit(key, {}, Status.DONE, made_from={}))
    ready = tmp_path / "ready"
    ready.touch()
    monkeypatch.setattr(command, "bring", lambda *_: Holding(tmp_path, "smollm2", {}, 0))
    place = Place("127.0.0.1", free_port(), program(tmp_path, "raise SystemExit(3)"), (), ready)
    with pytest.raises(InputError):
        command.serve(bench, "smollm2", None, place, lambda _line: None)
    assert bench.store.get(key) is None
    assert not ready.exists()


def test_what_the_study_says_wins_over_what_is_handed_on() -> None:
    endpoint = VllmEndpoint.model_validate({**OWN, "context": 4096})
    held = Holding(Path("/base"), "plain-1", {"tuned-2": Path("/a"), "tuned-3": Path("/b")}, 12)
    line = command_line("vllm", held, endpoint, "127.0.0.1", 8000, ["--dtype", "auto", "--x"])
    assert line[:3] == ["vllm", "serve", "/base"]
    assert [line[at + 1] for at, one in enumerate(line) if one == "--dtype"] == ["auto", "float32"]
    assert line[line.index("--max-model-len") + 1] == "4096"
    assert line[line.index("--max-lora-rank") + 1] == "16"
    assert line[line.index("--lora-modules") + 1 :] == ["tuned-2=/a", "tuned-3=/b"]
    alone = Holding(Path("/base"), "plain-1", {}, 0)
    assert "--enable-lora" not in command_line("vllm", alone, endpoint, "::1", 8000, [])


STUBBORN = """
if os.fork() == 0:
    {body}
import time; time.sleep(600)
"""
"""A program with a child of its own."""


def program(folder: Path, body: str) -> str:
    file = folder / "vllm"
    file.write_text(f"#!{sys.executable}\nimport os\n{body}\n")
    file.chmod(0o755)
    return str(file)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
