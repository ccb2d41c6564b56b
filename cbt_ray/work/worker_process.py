"""The process in which jobs are done: `python -m cbt_ray.work.worker_process CONNECTION`.

It takes orders from its parent, `worker.py`, and reports; where the parent is gone, so is the other
end of the connection, and the process ends. What libraries print, and the traces of a crash, go to
a file that the parent reads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from functools import partial
from multiprocessing.connection import Connection

from cbt_ray.errors import CbtRayError
from cbt_ray.llm.gate import Gate
from cbt_ray.work import crash
from cbt_ray.work.job import Job, Orders, Outcome, Report, Work, attempt
from cbt_ray.work.workplace import Spec
from cbt_ray.work.workshop import Setting, abandon, workshop_of

REPORT_S = 1.0
"""Seconds after which a worker reports whatever there is."""
GATHER_S = 0.005
"""Seconds in which what follows at once comes along: a hundred jobs end and ask in bunches."""


class Floor:
    """The jobs of one stage that this process has under way."""

    def __init__(self, work: Work, setting: Setting) -> None:
        self.gate = Gate(setting.study.endpoints, setting.study.budget, self._ask)
        with contextlib.suppress(CbtRayError, OSError):  # else each job meets it
            workshop_of(setting, self.gate)  # before there are threads
        self._work = work
        self._setting = setting
        self._noted: list[tuple[int, str, str]] = []
        self._ended: list[tuple[int, Outcome]] = []
        self._fault: str | None = None
        self._asked = False
        self._reports = self._sent = 0
        self._changed = threading.Condition()

    def start(self, number: int, job: Job) -> None:
        """Begin a job in a thread of its own."""
        threading.Thread(target=self._do, args=(number, job), daemon=True).start()

    def taken(self, orders: Orders) -> None:
        """Carry out orders."""
        self.gate.take(orders.grant)
        for number, job in orders.jobs:
            self.start(number, job)

    def report(self, again_s: float) -> Report | str:
        """What there is to say, as soon as something presses; a fault of ours as text: not all of
        it can be pickled.

        Calls that the last grant left waiting press after `again_s`.
        """
        with self._changed:
            patience = min(again_s, REPORT_S) if self.gate.waits() else REPORT_S
            self._changed.wait_for(
                lambda: self._ended or self._noted or self._fault or self._asked, patience
            )
        time.sleep(GATHER_S)
        with self._changed:
            noted, ended = tuple(self._noted), tuple(self._ended)
            self._noted, self._ended, self._asked = [], [], False
            self._reports += 1
            return self._fault or Report(noted, ended, self.gate.claim())

    def sent(self) -> None:
        """The last report has left this process."""
        with self._changed:
            self._sent = self._reports
            self._changed.notify_all()

    def _ask(self) -> None:
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def _note(self, number: int, key: str, outcome: str) -> None:
        """Note a unit, and wait until that has left this process: whatever happens to it then, the
        job has got on.
        """
        with self._changed:
            self._noted.append((number, key, outcome))
            self._changed.notify_all()
            its = self._reports + 1
            self._changed.wait_for(lambda: self._sent >= its)

    def _do(self, number: int, job: Job) -> None:
        spec = Spec(self._setting, self.gate, partial(self._note, number))
        try:
            outcome = attempt(self._work, spec, job)
        except Exception:
            self._fault, outcome = traceback.format_exc(), Outcome()
        if outcome.stop is not None:
            self.gate.halt(str(outcome.stop))
        with self._changed:
            self._ended.append((number, outcome))
            self._changed.notify_all()


def main() -> None:
    """Do jobs until the parent lets go, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, _told_to_end)
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # it would start a debugger
    crash.watch(sys.stderr.fileno())
    code = 0
    try:
        with contextlib.suppress(EOFError, OSError):
            _serve(Connection(int(sys.argv[1])))
    except SystemExit as told:
        code = int(told.code or 0)
        with contextlib.suppress(Exception):
            abandon()
    os._exit(code)  # threads may still be in a call


def _serve(connection: Connection) -> None:
    sys.path[:] = connection.recv()
    floor: Floor | None = None
    while True:
        told = connection.recv()
        if isinstance(told, tuple):
            floor = Floor(*told)
        elif floor is not None:
            floor.taken(told)
            connection.send(floor.report(told.grant.again_s))
            floor.sent()


def _told_to_end(number: int, _frame: object) -> None:
    """Leave what the main thread does, and the locks that it holds: what follows needs them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
