"""The engine: runs jobs in this process, in one process of their own, or on Ray.

State lies in the store and never here: a job whose worker dies is begun again and does what is
still owed.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from cbt_ray.llm.meter import Gate, LocalMeter, Meter
from cbt_ray.llm.request import Usage
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, LlamaCppEndpoint, Role
from cbt_ray.work.job import Job, Outcome, Work, attempt, name_of
from cbt_ray.work.loss import Losses
from cbt_ray.work.progress import Watch
from cbt_ray.work.worker import Worker
from cbt_ray.work.workplace import Spec

Say = Callable[[str], object]


class Engine(Protocol):
    """Runs jobs."""

    def meter(self) -> Gate:
        """The meter that all workers share."""
        ...

    def run(
        self, work: Work, jobs: Sequence[Job], roles: tuple[str, ...], cpus: float, watch: Watch
    ) -> Iterator[Outcome]:
        """Run jobs, the longest first as given; `watch` hears of each unit as it is settled."""
        ...

    def close(self) -> None:
        """Let go of workers."""
        ...


class InlineEngine:
    """One job after the other in this process: for breakpoints, and for tests that need no
    workers.
    """

    def __init__(self, study: Study, store: str, spent: Usage) -> None:
        self.study = study
        self.store = store
        self._run = uuid.uuid4().hex
        self._meter = LocalMeter(Meter(study.endpoints, study.budget, spent=spent))

    def meter(self) -> Gate:
        """The meter."""
        return self._meter

    def run(
        self,
        work: Work,
        jobs: Sequence[Job],
        roles: tuple[str, ...],
        cpus: float,  # noqa: ARG002
        watch: Watch,
    ) -> Iterator[Outcome]:
        """Run jobs one by one; a crash ends the command."""
        for job in jobs:
            outcome = attempt(
                work, Spec(self.study, self.store, self._meter, watch, roles, self._run), job
            )
            yield outcome
            if outcome.stop:
                return

    def close(self) -> None:
        """Nothing to let go of."""


class ProcessEngine:
    """One job after the other in one process of its own: a single worker, which needs no Ray."""

    def __init__(self, study: Study, store: str, spent: Usage, say: Say) -> None:
        self.study = study
        self.store = store
        self.say = say
        self._run = uuid.uuid4().hex
        self._meter: Gate = LocalMeter(Meter(study.endpoints, study.budget, spent=spent))
        self._worker = Worker()

    def meter(self) -> Gate:
        """The meter; its calls come from the worker."""
        return self._meter

    def run(
        self,
        work: Work,
        jobs: Sequence[Job],
        roles: tuple[str, ...],
        cpus: float,  # noqa: ARG002
        watch: Watch,
    ) -> Iterator[Outcome]:
        """Run jobs one by one, each again where its worker is lost."""
        losses = Losses(self.say)
        for job in jobs:
            outcome = self._do(work, job, roles, watch, losses)
            yield outcome
            if outcome.stop:
                return

    def _do(
        self, work: Work, job: Job, roles: tuple[str, ...], watch: Watch, losses: Losses
    ) -> Outcome:
        name = name_of(job)

        def note(key: str, outcome: str) -> None:
            losses.progress(name)
            watch(key, outcome)

        spec = Spec(self.study, self.store, self._meter, note, roles, self._run)
        while True:
            outcome = self._worker.do(work, spec, job)
            settled = losses.settle(name, outcome)
            if settled is not None:
                return settled

    def close(self) -> None:
        """End the worker."""
        self._worker.close()


def cpus_of(study: Study, roles: Iterable[Role]) -> float:
    """CPUs that a job takes: the threads of its in-process models, which speak in turn, or what
    waiting takes.
    """
    endpoints = [study.endpoints[role.endpoint] for role in roles]
    threads = [e.threads for e in endpoints if isinstance(e, LlamaCppEndpoint)]
    waiting = [e.cpus for e in endpoints if isinstance(e, LiteLLMEndpoint)]
    return float(max([*threads, *waiting], default=0.5))


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its container where there is
    one.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))
