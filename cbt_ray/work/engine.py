"""The engine: runs the jobs of a stage in this process, or in workers here or on a Ray cluster.

State lies in the store and never here: a job whose worker is lost begins again and does what is
still owed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Protocol

from cbt_ray.extra import need
from cbt_ray.llm.gate import Gate, gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Usage
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LlamaCppEndpoint, Role
from cbt_ray.work.job import Job, Outcome, Work, attempt
from cbt_ray.work.loss import Losses
from cbt_ray.work.progress import Watch
from cbt_ray.work.shift import Hand, Shift
from cbt_ray.work.worker import Worker
from cbt_ray.work.workplace import Spec
from cbt_ray.work.workshop import Setting

Say = Callable[[str], object]
Asked = Mapping[str, Collection[Role]]
"""The roles that a stage calls, by name."""
MOST_CHAINS = 128
"""Jobs at once in one worker: what a lost process costs."""
UNLIMITED_CHAINS = 16
"""Jobs at once where no endpoint says what it bears."""

CLOSERS = 64
"""Workers that are ended at once."""


@dataclass(frozen=True)
class Needs:
    """What a worker of a stage takes."""

    cpus: int
    only_waits: bool
    """Whether it does nothing but wait, for servers or a GPU: then one a machine is enough."""
    bears: int
    """Jobs at once that the stage's endpoints bear: over all workers, or in each where the models
    run in it."""


class Engine(Protocol):
    """Runs jobs."""

    gate: Gate
    """Leave to call models for this process."""

    def run(self, work: Work, jobs: Sequence[Job], asked: Asked, watch: Watch) -> Iterator[Outcome]:
        """Run jobs, the longest first as given; `watch` hears of each unit as it is settled."""
        ...

    def spent(self) -> Usage:
        """What the study has cost so far, with the calls of this run."""
        ...

    def close(self) -> None:
        """Let go of workers."""
        ...


class InlineEngine:
    """One job after the other in this process: for breakpoints, and for tests that need no
    workers.
    """

    def __init__(self, study: Study, store: str, spent: Usage) -> None:
        self._study, self._store = study, store
        self._meter = Meter(study.endpoints, study.budget, spent=spent)
        self.gate = gate_of(self._meter)

    def run(self, work: Work, jobs: Sequence[Job], asked: Asked, watch: Watch) -> Iterator[Outcome]:
        """Run jobs one by one; a crash ends the command."""
        setting = Setting(self._study, self._store, tuple(sorted(asked)))
        for job in jobs:
            outcome = attempt(work, Spec(setting, self.gate, watch), job)
            yield outcome
            if outcome.stop:
                return

    def spent(self) -> Usage:
        """What the meter has heard of."""
        return self._meter.totals()

    def close(self) -> None:
        """Nothing to let go of."""


class Closes(Protocol):
    """What can be ended."""

    def close(self) -> None:
        """End it."""
        ...


def close_all(workers: Sequence[Closes]) -> None:
    """End workers beside each other: each may take seconds, in which the others go on paying."""
    with ThreadPoolExecutor(CLOSERS) as pool:
        list(pool.map(lambda worker: worker.close(), workers))


class Crew(Protocol):
    """Where workers come from."""

    def width(self, needs: Needs) -> int:
        """Workers that there is room for now."""
        ...

    def hands(self, number: int, needs: Needs) -> Sequence[Hand]:
        """So many workers, those first that are there already."""
        ...

    def close(self) -> None:
        """Let go of all of them."""
        ...


class LocalCrew:
    """Workers on this machine."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def width(self, needs: Needs) -> int:
        """As many as the CPUs allow, and where all they do is wait, as hold what is borne."""
        room = max(1, available_cpus() // needs.cpus)
        return min(room, -(-needs.bears // MOST_CHAINS)) if needs.only_waits else room

    def hands(self, number: int, needs: Needs) -> Sequence[Worker]:  # noqa: ARG002
        """A process each."""
        self._workers += [Worker() for _ in range(number - len(self._workers))]
        return self._workers[:number]

    def close(self) -> None:
        """End them."""
        close_all(self._workers)


class CrewEngine:
    """Jobs in workers, many at once in each."""

    def __init__(self, study: Study, store: str, spent: Usage, say: Say, crew: Crew) -> None:
        self._study, self._store, self._say = study, store, say
        self._crew = crew
        self._meter = Meter(study.endpoints, study.budget, spent=spent)
        self.gate = gate_of(self._meter)

    def run(self, work: Work, jobs: Sequence[Job], asked: Asked, watch: Watch) -> Iterator[Outcome]:
        """Run jobs; those of a lost worker are begun again."""
        needs = needs_of(self._study, [role for same in asked.values() for role in same])
        width = self._width(needs)
        setting = Setting(self._study, self._store, tuple(sorted(asked)))
        shift = Shift(
            jobs,
            partial(chains_per_worker, self._study, needs),
            self._meter,
            Losses(self._say),
            watch,
        )
        try:
            self._join(shift, min(width, len(jobs)), needs, work, setting)
            for outcome in shift.outcomes():
                if outcome is not None:
                    yield outcome
                elif (more := self._width(needs) - shift.workers) > 0 and shift.waiting:
                    self._join(shift, min(more, shift.waiting), needs, work, setting)
        finally:
            shift.end()

    def spent(self) -> Usage:
        """What workers have told of, a second ago at most."""
        return self._meter.totals()

    def close(self) -> None:
        """End the workers."""
        self._crew.close()

    def _width(self, needs: Needs) -> int:
        return self._study.engine.workers or self._crew.width(needs)

    def _join(self, shift: Shift, number: int, needs: Needs, work: Work, setting: Setting) -> None:
        """So many more workers join a shift; those that are there already come first."""
        first = shift.workers
        hands = self._crew.hands(first + number, needs)
        named = [(f"worker-{at}", hands[at]) for at in range(first, first + number)]
        for name, _ in named:
            shift.join(name)
        for name, hand in named:
            Thread(target=shift.serve, args=(name, hand, work, setting), daemon=True).start()


def needs_of(study: Study, roles: Collection[Role]) -> Needs:
    """What a worker takes that asks these roles' endpoints."""
    endpoints = [study.endpoints[name] for name in sorted({role.endpoint for role in roles})]
    here = [one for one in endpoints if isinstance(one, LlamaCppEndpoint)]
    if here:
        at_once = min(one.parallel for one in here)
        on_gpu = any(one.gpu_layers for one in here)
        return Needs(max(one.threads for one in here), only_waits=on_gpu, bears=at_once)
    known = [one.max_concurrency for one in endpoints if one.max_concurrency is not None]
    bears = sum(known) if len(known) == len(endpoints) else UNLIMITED_CHAINS
    return Needs(1, only_waits=True, bears=max(1, bears))


def chains_per_worker(study: Study, needs: Needs, workers: int) -> int:
    """Jobs at once in each of so many workers."""
    bears = -(-needs.bears // (workers if needs.only_waits else 1))
    return study.engine.chains_per_worker or min(MOST_CHAINS, bears)


def useful_workers(study: Study, needs: Needs, at_once: int) -> int:
    """Workers that so many jobs at once keep busy."""
    if not needs.only_waits:
        return max(1, -(-at_once // needs.bears))
    chains = study.engine.chains_per_worker or MOST_CHAINS
    return max(1, -(-min(at_once, needs.bears) // chains))


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


def open_engine(
    study: Study, store: str, spent: Usage, say: Say, *, inline: bool = False
) -> Engine:
    """The engine that a study file asks for; RAY_ADDRESS names a cluster, too.

    `store` is its URL, the same for all workers.
    """
    if inline:
        return InlineEngine(study, store, spent)
    address = os.environ.get("RAY_ADDRESS") or study.engine.address
    if not address:
        return CrewEngine(study, store, spent, say, LocalCrew())
    need("ray")
    from cbt_ray.work.ray_crew import RayCrew

    return CrewEngine(study, store, spent, say, RayCrew(address, say))
