"""A worker: a process of its own in which many jobs are done at once, each in a thread.

So a crash costs what the process has under way, and can be told.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from cbt_ray.work import crash
from cbt_ray.work.job import Cause, Loss, Orders, Report, Work
from cbt_ray.work.workshop import Setting

TICK_S = 1.0
"""Seconds between two looks at the traces of a process that says nothing."""
END_S = 5.0
"""Seconds that a worker has to end in when it is told to."""
TRACES_BYTES = 1 << 20


class Worker:
    """A process that does jobs; begun with the first orders, and anew after a loss."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._traces: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  open as long as its process
        self._killed_before = 0
        self._printed = 0
        self._stage: tuple[Work, Setting] | None = None
        self._told = False

    def begin(self, work: Work, setting: Setting) -> None:
        """Say what the jobs of the next orders are."""
        self._stage, self._told = (work, setting), False

    def is_there(self) -> bool:
        """Always: it is begun with its first orders."""
        return True

    def exchange(self, orders: Orders) -> Report | Loss:
        """Give orders, wait for the report; where the process is lost, why.

        Raises RuntimeError for a fault of ours.
        """
        try:
            if self._process is None:
                self._begin()
            if not self._told:
                self._send(self._stage)
                self._told = True
            self._send(orders)
            return self._heard()
        except (EOFError, OSError):
            return self._lost()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process: SIGTERM, by which it records what the unit under way cost, then
        SIGKILL.
        """
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget()

    def _begin(self) -> None:
        self._killed_before = kernel_kills()
        self._traces.seek(0)
        self._traces.truncate()
        self._printed, self._told = 0, False
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "cbt_ray.work.worker_process",
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._traces,
                stderr=self._traces,
                pass_fds=[theirs.fileno()],
            )
        self._connection = Connection(ours.detach())
        self._send(sys.path)

    def _send(self, message: Any) -> None:
        if self._connection is None:
            raise EOFError
        self._connection.send(message)

    def _heard(self) -> Report:
        """Its report.

        Raises EOFError where it is gone.
        """
        if self._connection is None:
            raise EOFError
        while not self._connection.poll(TICK_S):
            self._check()
        report = self._connection.recv()
        if isinstance(report, Report):
            return report
        raise RuntimeError(f"a worker failed:\n{report}")

    def _check(self) -> None:
        """End a worker that was struck and does not end by itself."""
        printed, self._printed = self._printed, os.fstat(self._traces.fileno()).st_size
        if self._process is not None and printed != self._printed and crash.STRUCK in self._read():
            time.sleep(crash.GRACE_S)
            self._process.kill()

    def _read(self) -> bytes:
        """The end of what the process printed."""
        size = os.fstat(self._traces.fileno()).st_size
        return os.pread(self._traces.fileno(), TRACES_BYTES, max(0, size - TRACES_BYTES))

    def _lost(self) -> Loss:
        """Why the process is gone."""
        if self._process is None:
            return Loss(Cause.OUTSIDE, "it could not be started")
        try:
            code = self._process.wait(crash.GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        traces = self._read().decode(errors="replace")
        loss = loss_of(code, traces, memory=kernel_kills() > self._killed_before)
        self._forget()
        return loss

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def loss_of(code: int, traces: str, *, memory: bool) -> Loss:
    """Why a process is gone.

    By its exit code (negative: a signal), its traces, and whether the kernel was short of memory.
    """
    struck = crash.signal_of(traces)
    if struck is not None:
        return Loss(Cause.CRASH, crash.told(struck, traces))
    if code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
        if memory and code == -signal.SIGKILL:
            return Loss(Cause.MEMORY, "SIGKILL, the machine or its container was out of memory")
        return Loss(
            Cause.OUTSIDE, f"{'SIGKILL' if code == -signal.SIGKILL else 'SIGTERM'} from outside"
        )
    if code < 0:
        return Loss(Cause.CRASH, crash.told(signal.Signals(-code), traces))
    last = next(
        (line.strip() for line in reversed(traces.splitlines()) if line.strip()),
        "it printed nothing",
    )
    return Loss(Cause.CRASH, f"its process ended by itself with {code} ({last[:200]})")


def kernel_kills() -> int:
    """How many processes the kernel of this machine has ended so far for want of memory."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
