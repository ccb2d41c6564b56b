"""Workers that die, and a Ray that does not start, as a user meets them: one line, the right exit
code, no process left.
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import socket
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
import ctypes, os, sys
words, once = os.environ.get("CRASH_AT"), os.environ.get("CRASH_ONCE")
if words:
    from cbt_ray.llm.scripted import ScriptedModel
    whole = ScriptedModel.complete
    def complete(self, request):
        if words in str(request) and not (once and os.path.exists(once)):
            if once:
                open(once, "w").close()
            ctypes.CDLL("libm.so.6").frexp(ctypes.c_double(1.0), None)
        return whole(self, request)
    ScriptedModel.complete = complete
if os.environ.get("RAYLET"):
    import cbt_ray.work.ray_runtime
    cbt_ray.work.ray_runtime.BEGIN_TRIES = 2  # each takes Ray 30 s
if os.environ.get("RAYLET") and "cbt_ray.work.ray_head" in sys.orig_argv:
    import ray._private.services
    ray._private.services.RAYLET_EXECUTABLE = os.environ["RAYLET"]
"""
"""Run by every Python process of the study: it makes the scripted model crash, or Ray's start fail,
as the environment says."""


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


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.ray)])
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
    assert output.count("its worker is lost (SIGSEGV in libm.so.6") == 1
    assert len(scripted.units(tmp_path / "store", Stage.SESSIONS)) == 8
    assert mark


@pytest.mark.ray
def test_killed_workers_are_replaced_and_nobody_else_hears_of_them(
    tmp_path: Path, mark: str
) -> None:
    process = scripted.start("simulate", study(tmp_path, 2, latency=0.3))
    for command in ("cbt_ray.work.worker_process", "ray::attempt", "cbt_ray.work.worker_process"):
        scripted.wait_until(lambda command=command: bool(running(process, command)), process)  # type: ignore[misc]
        os.kill(running(process, command)[0], signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("its worker is lost") >= 2
    check_quiet(output)
    assert mark


@pytest.mark.ray
def test_ray_listens_on_this_machine_alone(tmp_path: Path, mark: str) -> None:
    process = scripted.start("generate", study(tmp_path, 2, latency=0.5))
    scripted.wait_until(lambda: bool(running(process, "cbt_ray.work.worker_process")), process)
    found = set(listeners({process.pid, *scripted.descendants(process.pid)}))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "starting Ray" in output
    assert len(found) >= 5, "Ray's processes were seen"
    assert {address.removeprefix("::ffff:") for address, _ in found} == {"127.0.0.1"}, found
    assert mark


@pytest.mark.ray
def test_a_ray_that_does_not_start_names_the_way_without_it(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYLET", "/bin/false")
    output = scripted.run("generate", study(tmp_path, 2), expect=1)
    last = output.strip().splitlines()[-1]
    assert last.startswith("cbt-ray: ")
    assert "Ray does not start on this machine" in last
    assert "--inline" in last
    check_quiet(output)
    assert not marked(mark), "what was begun of Ray is left"


@pytest.mark.ray
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_signal_while_ray_starts(
    tmp_path: Path, mark: str, number: signal.Signals, code: int
) -> None:
    process = scripted.start("generate", study(tmp_path, 2))
    scripted.wait_until(lambda: bool(running(process, "gcs_server")), process)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == code, output
    assert output.strip().splitlines()[-1].startswith("cbt-ray: ")
    assert len([line for line in output.splitlines() if line]) <= 3, output
    assert not marked(mark)


def check_quiet(output: str) -> None:
    """Nothing of Ray's own words is shown."""
    assert "(raylet" not in output
    assert "pid=" not in output
    assert "Traceback" not in output


def running(process: subprocess.Popen[str], command: str) -> list[int]:
    """Processes of the study, by a part of their command lines."""
    return [pid for pid, line in scripted.descendants(process.pid).items() if command in line]


def listeners(pids: set[int]) -> Iterator[tuple[str, int]]:
    """Addresses and ports on which processes listen for TCP."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(descriptor.readlink().name)
            except OSError:
                continue
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
                address, port = cells[1].split(":")
                yield socket.inet_ntop(family, _bytes(address)), int(port, 16)


def _bytes(address: str) -> bytes:
    """An address as the kernel prints it: words of 32 bits, each in the order of this machine."""
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)
