"""Losses: whether a job whose worker is gone is begun again, and when only the user can help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

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

    def suspects(self, job: str) -> bool:
        """Whether a job may have crashed a worker, and has settled no unit since."""
        return bool(self._in_a_row) and self._crashes(job) > 0

    def settle(self, jobs: Sequence[str], loss: Loss) -> list[Outcome | None]:
        """What the jobs of a lost worker left in the end; None for each that is to be begun
        again.
        """
        outcomes = [self._settled(job, loss) for job in jobs]
        again = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome is None]
        if again:
            named = f"job {again[0]}" if len(again) == 1 else f"jobs {_some(again)}"
            they = "it is" if len(again) == 1 else "they are"
            alone = ", one at a time" if len(again) > 1 and self.suspects(again[0]) else ""
            self._say(f"{named}: a worker is lost ({loss.words}); {they} begun again{alone}")
        return outcomes

    def _settled(self, job: str, loss: Loss) -> Outcome | None:
        self._in_a_row[job, loss.cause] += 1
        if loss.cause is Cause.OUTSIDE:
            if self._in_a_row[job, loss.cause] >= LOST_WORKERS:
                return Outcome(owed=[f"worker lost {LOST_WORKERS} times: {loss.words}"])
        elif self._crashes(job) >= CRASHES:
            return Outcome(stop=_died(job, loss))
        return None

    def _crashes(self, job: str) -> int:
        return self._in_a_row[job, Cause.CRASH] + self._in_a_row[job, Cause.MEMORY]


def _some(jobs: Sequence[str]) -> str:
    """The first of several jobs, and how many there are."""
    return f"{jobs[0]} and {len(jobs) - 1} more" if len(jobs) > 2 else " and ".join(jobs)


def _died(job: str, loss: Loss) -> WorkerDied:
    remedy = (
        "; give it more memory, or fewer jobs at once (engine.workers, engine.chains_per_worker)"
        if loss.cause is Cause.MEMORY
        else ""
    )
    return WorkerDied(
        f"job {job}: its worker died twice before a unit was done: {loss.words}{remedy}", job
    )
