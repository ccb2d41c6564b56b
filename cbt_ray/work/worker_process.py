"""The process in which jobs are done: `python -m cbt_ray.work.worker_process CONNECTION PARENT`.

It asks its parent, `worker.py`, for leave to call models and tells it of each unit. What libraries
print, and the traces of a crash, go to a file that the parent reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from cbt_ray.llm.meter import Permit
from cbt_ray.llm.request import Usage
from cbt_ray.work import crash

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Line:
    """The line to the parent: one question at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def ask(self, name: str, *arguments: Any) -> Any:
        """Have the parent do something; answers its answer, or raises what was raised there."""
        with self._lock:
            try:
                self._connection.send((name, arguments))
                answer = self._connection.recv()
            except (EOFError, OSError):
                raise SystemExit(1) from None  # the parent is gone
        if isinstance(answer, BaseException):
            raise answer
        return answer


class ParentsMeter:
    """The parent's meter."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def acquire(self, endpoint: str, tokens: int) -> Permit | float:
        """See Gate."""
        answer: Permit | float = self._line.ask("acquire", endpoint, tokens)
        return answer

    def release(self, permit: Permit, usage: Usage) -> None:
        """See Gate."""
        self._line.ask("release", permit, usage)

    def totals(self) -> Usage:
        """See Gate."""
        usage: Usage = self._line.ask("totals")
        return usage

    def halt(self, reason: str) -> None:
        """See Gate."""
        self._line.ask("halt", reason)


def main() -> None:
    """Do jobs until the parent lets go, or is gone."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # it would start a debugger
    crash.watch(sys.stderr.fileno())
    connection = Connection(descriptor)
    line = Line(connection)
    meter = ParentsMeter(line)
    with contextlib.suppress(EOFError):
        sys.path[:] = connection.recv()
        while True:
            _work(connection, line, meter)


def _work(connection: Connection, line: Line, meter: ParentsMeter) -> None:
    """Wait for a job and do it.

    What is raised by a fault of ours goes to the parent as text: not all of it can be pickled.
    """
    from cbt_ray.work.job import attempt
    from cbt_ray.work.workplace import Spec

    work, study, store, roles, run, job = connection.recv()
    try:
        spec = Spec(study, store, meter, lambda *unit: line.ask("note", *unit), roles, run)
        ended: tuple[str, tuple[Any]] = ("ended", (attempt(work, spec, job),))
    except Exception:
        ended = ("raised", (traceback.format_exc(),))
    connection.send(ended)


def die_with(parent: int) -> None:
    """End this process when its parent ends, however that ends; only Linux can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main()
