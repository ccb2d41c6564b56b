"""The engine: runs jobs beside each other as Ray tasks, on this machine or on a cluster, and tells how far it is.

State lies in the store and never in Ray: a job whose worker dies is run again and does what is still owed.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cbt_ray.errors import CbtRayError, Infrastructure, InputError
from cbt_ray.llm.meter import Gate, LocalMeter, Meter
from cbt_ray.llm.request import Usage
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, LlamaCppEndpoint, Role
from cbt_ray.work import ray_runtime
from cbt_ray.work.progress import Watch
from cbt_ray.work.workplace import Spec, reason_of

LOST_WORKERS = 4
"""Times that a job is begun anew because its worker was lost (killed, out of memory, node gone)."""


@dataclass
class Outcome:
    """What a job left: nothing owed, or why; `stop` where the whole stage must not go on."""

    owed: list[str] = field(default_factory=list)
    stop: CbtRayError | None = None


Job = tuple[Any, ...]
Work = Callable[[Spec, Job], None]


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


class Engine(Protocol):
    """Runs jobs."""

    def meter(self) -> Gate:
        """The meter that all workers share."""
        ...

    def run(self, work: Work, jobs: Sequence[Job], roles: tuple[str, ...], cpus: float, watch: Watch) -> Iterator[Outcome]:
        """Run jobs, the longest first as given; `watch` hears of each unit as it is settled."""
        ...

    def close(self) -> None:
        """Let go of workers."""
        ...


class InlineEngine:
    """One job after the other in this process: for breakpoints, and for tests that need no workers."""

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
        """Run jobs one by one."""
        for job in jobs:
            outcome = attempt(work, Spec(self.study, self.store, self._meter, watch, roles, self._run), job)
            yield outcome
            if outcome.stop:
                return

    def close(self) -> None:
        """Nothing to let go of."""


class RayEngine:
    """Ray tasks, one a job. Ray starts with the first job: a run that owes nothing does not wait for it."""

    def __init__(self, study: Study, store: str, spent: Usage, address: str | None) -> None:
        self.study = study
        self.store = store
        self.spent = spent
        self.address = address
        self._run = uuid.uuid4().hex
        self._meter: Gate | None = None
        self._board: Any = None

    def meter(self) -> Gate:
        """The meter: an actor that all workers ask."""
        self._start()
        if self._meter is None:
            raise RuntimeError("the engine is closed")
        return self._meter

    def run(self, work: Work, jobs: Sequence[Job], roles: tuple[str, ...], cpus: float, watch: Watch) -> Iterator[Outcome]:
        """Run jobs as tasks that take `cpus` CPUs each."""
        import ray

        spec = Spec(self.study, self.store, self.meter(), _BoardNote(self._board), roles, self._run)
        task = ray.remote(attempt).options(num_cpus=cpus, max_retries=LOST_WORKERS)
        waiting, seen = list(jobs), 0
        pending: list[Any] = []
        while waiting or pending:
            begin = max(0, self._width(cpus) - len(pending))
            pending += [task.remote(work, spec, job) for job in waiting[:begin]]
            waiting = waiting[begin:]
            done, pending = ray.wait(pending, num_returns=1, timeout=0.5)
            seen = self._tell(seen, watch)
            for result in done:
                outcome = _result(result)
                yield outcome
                if outcome.stop:
                    waiting = []  # what is under way ends by itself: its next call is refused
                    self.meter().halt(str(outcome.stop))
        self._tell(seen, watch)

    def _width(self, cpus: float) -> int:
        """Tasks at once: the study file's number of workers, else as many as the CPUs of the cluster allow now."""
        import ray

        return self.study.engine.workers or max(1, int(ray.cluster_resources().get("CPU", 1.0) / cpus))

    def close(self) -> None:
        """Stop Ray, if it was started."""
        if self._board is not None:
            import ray

            ray.shutdown()
            self._board = self._meter = None

    def _tell(self, seen: int, watch: Watch) -> int:
        import ray

        try:
            news = ray.get(self._board.since.remote(seen))
        except ray.exceptions.RayActorError as error:  # its node is gone, and with it only the display
            raise Infrastructure("Ray's head or the driver's node is lost; run again", "connection") from error
        for key, outcome in news:
            watch(key, outcome)
        return seen + len(news)

    def _start(self) -> None:
        if self._board is not None:
            return
        import ray

        from cbt_ray.llm import ray_meter

        ray_runtime.begin(self.address, **self._local())
        self._board = ray.remote(Board).options(**ray_meter.beside_the_driver()).remote()
        name = f"meter-{self.study.study}-{self._run}"  # one a run: two studies on a cluster do not share one
        self._meter = ray_meter.actor(name, self.study.endpoints, self.study.budget, spent=self.spent)

    def _local(self) -> dict[str, Any]:
        """Settings of a Ray on this machine: enough CPUs for the wished workers in every stage, no dashboard, little memory."""
        largest = cpus_of(self.study, [*(role for _, role in self.study.roles), *map(self.study.therapist, self.study.arms)])
        number = max(available_cpus(), math.ceil(largest * (self.study.engine.workers or 1)))
        return {"num_cpus": number, "include_dashboard": False, "object_store_memory": 100 << 20}


class Board:
    """The list of settled units, kept by one Ray actor; the driver reads on where it left off."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def note(self, key: str, outcome: str) -> None:
        """A worker settled a unit."""
        self.notes.append((key, outcome))

    def since(self, number: int) -> list[tuple[str, str]]:
        """What is new."""
        return self.notes[number:]


@dataclass(frozen=True)
class _BoardNote:
    board: Any

    def __call__(self, key: str, outcome: str) -> None:
        self.board.note.remote(key, outcome)


def _result(reference: Any) -> Outcome:
    import ray

    try:
        outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        if isinstance(error, ray.exceptions.RayTaskError):
            raise error.as_instanceof_cause() from None
        return Outcome(owed=[f"worker lost: {type(error).__name__}"])
    return outcome if isinstance(outcome, Outcome) else Outcome()


def cpus_of(study: Study, roles: Iterable[Role]) -> float:
    """CPUs that a job takes: the threads of its in-process models, which speak in turn, or what waiting takes."""
    endpoints = [study.endpoints[role.endpoint] for role in roles]
    threads = [e.threads for e in endpoints if isinstance(e, LlamaCppEndpoint)]
    waiting = [e.cpus for e in endpoints if isinstance(e, LiteLLMEndpoint)]
    return float(max([*threads, *waiting], default=0.5))


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its container where there is one."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def open_engine(study: Study, store: str, spent: Usage, *, inline: bool = False) -> Engine:
    """The engine that a study file asks for; RAY_ADDRESS names a cluster, too. `store` is its URL, the same for all workers."""
    if inline:
        return InlineEngine(study, store, spent)
    return RayEngine(study, store, spent, os.environ.get("RAY_ADDRESS") or study.engine.address)
