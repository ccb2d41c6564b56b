"""Ray itself: begun on this machine in processes of its own, or joined where a cluster runs."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cbt_ray.errors import Infrastructure

KNOCK_S = 10.0
"""Seconds that a cluster's address has to answer in."""
BEGIN_S = 180.0
"""Seconds that a Ray on this machine has to start in, all tries together."""
BEGIN_TRIES = 3
"""Times that Ray is begun: on a busy machine its own 30 s for a part may not be enough."""
END_S = 10.0
"""Seconds that Ray has to end by itself in."""
HERE = "127.0.0.1"
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Has Ray take 127.0.0.1 for its address, as on a Mac; else it replaces it by the machine's."""


@dataclass
class Ray:
    """A Ray that this process has joined, and the head that it began, where there is one."""

    head: Head | None = None

    def stop(self) -> None:
        """Let go of it; a head of our own ends with all its processes."""
        import ray

        ray.shutdown()
        if self.head is not None:
            self.head.stop()


class Head:
    """The process that begins Ray here, in a session of its own, by which all of it is found."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  open as long as its process
        command = [
            sys.executable,
            "-m",
            "cbt_ray.work.ray_head",
            str(os.getpid()),
            json.dumps(settings),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
            env={**os.environ, **LOOPBACK},
        )

    def address(self, seconds: float) -> str:
        """Where Ray listens, as soon as it does.

        Raises Infrastructure where it does not start, or not in so many seconds.
        """
        stream = self._process.stdout
        if stream is None or not select.select([stream], [], [], max(0.0, seconds))[0]:
            raise Infrastructure(f"it did not start within {BEGIN_S:.0f} s", "connection")
        line = stream.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = {"failure": self._last_line()}
        if "address" not in answer:
            raise Infrastructure(answer["failure"], "connection")
        return str(answer["address"])

    def stop(self) -> None:
        """End it and all that it began: asked first, then killed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self.kill()

    def kill(self) -> None:
        """End it and all that it began, at once."""
        while self._process.poll() is None or _session(self._process.pid):
            for pid in [self._process.pid, *_session(self._process.pid)]:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)

    def _last_line(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"its process ended with {self._process.wait()}"


def begin(address: str | None, **settings: Any) -> Ray:
    """Start Ray here with these settings of `ray.init`, or join it at `address`.

    Raises:
        Infrastructure: Nobody listens at the address, or Ray did not start; then nothing of it is
        left.

    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(int(BEGIN_S)))
    if not address:
        return _begin_here(settings)
    _knock(address)
    try:
        _join(address)
    except Exception as error:  # Ray raises whatever comes
        raise Infrastructure(f"engine.address {address}: {_line(error)}", "connection") from None
    return Ray()


def _begin_here(settings: dict[str, Any]) -> Ray:
    # Whoever else has an account on this machine reaches 127.0.0.1, too.
    os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    end, failure = time.monotonic() + BEGIN_S, ""
    for _ in range(BEGIN_TRIES):
        head = Head({**settings, "_node_ip_address": HERE})
        try:
            import ray  # noqa: F401  while the head starts, which takes longer

            _join(head.address(end - time.monotonic()), here=True)
        except Exception as error:  # Ray raises whatever comes
            head.kill()
            failure = _line(error)
        except BaseException:  # SIGTERM, Ctrl-C
            head.kill()
            raise
        else:
            return Ray(head)
        if time.monotonic() >= end:
            break
    raise Infrastructure(
        f"Ray does not start on this machine: {failure}; --inline runs without it", "connection"
    )


def _join(address: str, *, here: bool = False) -> None:
    """Connect this process; Ray's own words are not shown, and SIGTERM remains ours."""
    import ray
    import ray._private.worker

    ray._private.worker._worker_logs_enabled = (
        False  # else "(raylet)" lines, whatever log_to_driver says
    )
    if here:  # see LOOPBACK: the variable was read when Ray was imported
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        # A Ray of this machine answers soon; somebody else's may never, and Ctrl-C must end that.
        with _held(*([signal.SIGTERM, signal.SIGINT] if here else [signal.SIGTERM])):
            ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except BaseException:
        ray.shutdown()
        raise


@contextlib.contextmanager
def _held(*numbers: signal.Signals) -> Iterator[None]:
    """Hold signals back, and keep SIGTERM's handler: Ray puts two there, one prints a C++ stack.

    A Ctrl-C that comes while Ray connects was seen to be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _session(leader: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue  # it has gone in the meantime
        if int(session) == leader and state != "Z":
            found.append(int(folder.name))
    return found


def _knock(address: str) -> None:
    """Raise Infrastructure where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or whatever else Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except OSError as error:
        raise Infrastructure(
            f"engine.address {address}: nobody listens there ({error})", "connection"
        ) from None
