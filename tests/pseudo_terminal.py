"""A program on a terminal that a test reads and types at."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_S = 300
"""Seconds in which what is drawn for ever shows what a test waits for."""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """What a program writes, and how it ends."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process = process
        self.raw = ""
        self._end = end

    @property
    def text(self) -> str:
        """All that was written, without control sequences; each drawing on lines of its own."""
        return CONTROL.sub("", self.raw).replace("\r\n", "\n").replace("\r", "\n")

    def until(self, pattern: str) -> None:
        """Read until something is there; fails at the end of the program."""
        begun = time.monotonic()
        while not re.search(pattern, self.text):
            assert self._read(), f"{pattern!r} is not in {self.text}"
            assert time.monotonic() - begun < PATIENCE_S, f"{pattern!r} is not in {self.text}"

    def type(self, text: str) -> None:
        """Type, Ctrl-C as \\x03."""
        os.write(self._end, text.encode())

    def ended(self) -> int:
        """Read to the end; answers the exit code."""
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        try:
            data = os.read(self._end, 65536)
        except OSError:  # how Linux says that nobody is at the other end
            return False
        self.raw += data.decode()
        return bool(data)


def _hear_ctrl_c() -> None:
    """Whatever the tests run under: a shell's background jobs ignore it, and all that they begin
    does.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def terminal(*arguments: str, columns: int = 80, **environment: str) -> Iterator[Terminal]:
    """Run Python with arguments on a terminal of so many columns; xterm without another TERM."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=_environment(environment),
        start_new_session=True,
        preexec_fn=_hear_ctrl_c,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")
    }
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more}
