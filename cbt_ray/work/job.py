"""A job: units that are made one after the other, in one thread; what it does, what it leaves, and
what a worker and the engine tell each other of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cbt_ray.errors import CbtRayError, InputError
from cbt_ray.llm.lease import Claim, Grant
from cbt_ray.work.workplace import Spec, reason_of


class Cause(StrEnum):
    """Who is to blame for a lost worker."""

    CRASH = "crash"
    """The work itself: a signal of a crash, or an end of the process that nobody asked for."""
    MEMORY = "memory"
    """The work itself: the kernel or Ray ended it because memory was short."""
    OUTSIDE = "outside"
    """Others: it was killed, or its node is gone."""


@dataclass(frozen=True)
class Loss:
    """Why a worker was lost, and that in a few words."""

    cause: Cause
    words: str


@dataclass
class Outcome:
    """What a job left: nothing owed, or why; `stop` where the whole stage must not go on."""

    owed: list[str] = field(default_factory=list)
    stop: CbtRayError | None = None


Job = tuple[Any, ...]
Work = Callable[[Spec, Job], None]


@dataclass(frozen=True)
class Orders:
    """What a worker is to do: jobs, each with a number, and what it may use."""

    jobs: tuple[tuple[int, Job], ...]
    grant: Grant


@dataclass(frozen=True)
class Report:
    """What a worker did since its last report, and what it wants."""

    noted: tuple[tuple[int, str, str], ...]
    """Units that were settled or moved aside: number of the job, key, what became of it."""
    ended: tuple[tuple[int, Outcome], ...]
    claim: Claim


def attempt(work: Work, spec: Spec, job: Job) -> Outcome:
    """Do one job; faults of the world leave it owed, what the user must mend stops the stage."""
    try:
        work(spec, job)
    except InputError as error:
        return Outcome(stop=error)
    except CbtRayError as error:
        return Outcome(owed=[reason_of(error)])
    except OSError as error:
        return Outcome(owed=[f"system: {error}"])
    return Outcome()


def name_of(job: Job) -> str:
    """A job's name, as a user may write it: its parts (arm, unit, number) joined by dots."""
    return ".".join(str(getattr(part, "name", getattr(part, "id", part))) for part in job)
