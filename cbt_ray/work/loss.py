"""Losses: whether a job whose worker is gone is begun again, and when only the user can help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cbt_ray.errors import WorkerDied
from cbt_ray.work.job import Cause, Loss, Outcome

CRASHES = 2
"""Times in a row, without a unit done in between, that a job loses its worker to itself."""
LOST_WORKERS = 5
"""Times in a row, without a unit done in between, that it loses it to others."""


class Losses:
    """The losses of a stage's jobs, by job.

    A unit that is settled makes a job's count begin anew.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._in_a_row: Counter[tuple[str, Cause]] = Counter()

    def progress(self, job: str) -> None:
        """A unit of the job is settled."""
        for cause in Cause:
            del self._in_a_row[job, cause]

    def settle(self, job: str, outcome: Outcome) -> Outcome | None:
        """What a job left in the end; None where it lost its worker and is to be begun again."""
        loss = outcome.lost
        if loss is None:
            return outcome
        self._in_a_row[job, loss.cause] += 1
        if loss.cause is Cause.OUTSIDE:
            if self._in_a_row[job, loss.cause] >= LOST_WORKERS:
                return Outcome(owed=[f"worker lost {LOST_WORKERS} times: {loss.words}"])
        elif self._in_a_row[job, Cause.CRASH] + self._in_a_row[job, Cause.MEMORY] >= CRASHES:
            return Outcome(stop=_died(job, loss))
        self._say(f"job {job}: its worker is lost ({loss.words}); it is begun again")
        return None


def _died(job: str, loss: Loss) -> WorkerDied:
    remedy = (
        "; give it more memory, or fewer workers (engine.workers)"
        if loss.cause is Cause.MEMORY
        else ""
    )
    return WorkerDied(
        f"job {job}: its worker died twice before a unit was done: {loss.words}{remedy}", job
    )
