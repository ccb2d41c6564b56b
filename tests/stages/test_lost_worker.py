"""Workers that die, as a user meets them: one line, the right exit code, no process left."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbt_ray.unit import Stage
from tests.stages import scripted

pytestmark = pytest.mark.slow

HOOK = """
import ctypes, os
words, once = os.environ.get("CRASH_AT"), os.environ.get("CRASH_ONCE")
if words:
    from cbt_ray.llm.scripted import ScriptedModel
    whole = ScriptedModel.complete
    def first():
        try:
            return bool(open(once, "x"))
        except FileExistsError:
            return False
    def complete(self, request):
        if words in str(request) and (not once or first()):
            ctypes.CDLL("libm.so.6").frexp(ctypes.c_double(1.0), None)
        return whole(self, request)
    ScriptedModel.complete = complete
"""
"""Run by every Python process of the study: it makes the scripted model crash as the environment
says."""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A word in the environment of every process that the test begins; none of them outlives it."""
    word = secrets.token_hex(8)
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("MARK", word)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    yield word
    end = time.monotonic() + scripted.PATIENCE_S
    while left := marked(word):
        assert time.monotonic() < end, f"processes are left: {left}"
        time.sleep(0.1)


def marked(word: str) -> dict[int, str]:
    """Processes with the word in their environment, but for this one."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                f"MARK={word}".encode() in (folder / "environ").read_bytes()
                and int(folder.name) != os.getpid()
            ):
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                )
        except OSError:
            continue
    return found


def study(folder: Path, workers: int, latency: float = 0.0) -> Path:
    document = scripted.study_document(folder / "store", latency, engine={"workers": workers})
    return scripted.write_study(folder, document)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_always_crashes_ends_with_2_and_a_command_that_shows_it(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    file = study(tmp_path, workers)
    scripted.run("generate", file, "--inline")
    monkeypatch.setenv("CRASH_AT", "Jonas")
    output = scripted.run("simulate", file, "--set", "seed=7", expect=2)
    last = output.strip().splitlines()[-1]
    assert last.startswith(f"cbt-ray: {file}: sessions: job ")
    assert "SIGSEGV in libm.so.6 (called from " in last
    assert "run again" not in last
    check_quiet(output)
    command = shlex.split(last.rpartition("to see it happen: ")[2])
    assert command[:2] == ["cbt-ray", "simulate"]
    assert command[2:5] == [str(file), "--set", "seed=7"]
    process = scripted.start(*command[1:])
    shown, _ = process.communicate()
    assert process.returncode == -signal.SIGSEGV
    assert "struck in libm.so.6" in shown
    assert mark


def test_a_crash_now_and_then_costs_a_line(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASH_AT", "Jonas")
    monkeypatch.setenv("CRASH_ONCE", str(tmp_path / "crashed"))
    output = scripted.run("study", study(tmp_path, 1))
    assert output.count("a worker is lost (SIGSEGV in libm.so.6") == 1, output
    assert len(scripted.units(tmp_path / "store", Stage.SESSIONS)) == 8
    assert mark


def test_killed_workers_are_replaced_and_nobody_else_hears_of_them(
    tmp_path: Path, mark: str
) -> None:
    process = scripted.start("simulate", study(tmp_path, 2, latency=0.3))
    for _ in range(2):
        scripted.wait_until(lambda: len(running(process, scripted.WORKER)) == 2, process)
        scripted.kill_worker(process)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("a worker is lost") >= 2
    check_quiet(output)
    assert mark


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_signal_ends_the_workers_too(
    tmp_path: Path, mark: str, number: signal.Signals, code: int
) -> None:
    process = scripted.start("generate", study(tmp_path, 2, latency=0.5))
    scripted.wait_until(lambda: len(running(process, scripted.WORKER)) == 2, process)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == code, output
    assert output.strip().splitlines()[-1].startswith("cbt-ray: ")
    assert len([line for line in output.splitlines() if line]) <= 3, output
    assert not marked(mark)


def check_quiet(output: str) -> None:
    """No words of a library are shown."""
    assert "pid=" not in output
    assert "Traceback" not in output


def running(process: subprocess.Popen[str], command: str) -> list[int]:
    """Processes of the study, by a part of their command lines."""
    return [pid for pid, line in scripted.descendants(process.pid).items() if command in line]
