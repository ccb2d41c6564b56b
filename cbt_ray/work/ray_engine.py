"""The engine on Ray: jobs as tasks, on this machine or on a cluster.

Each Ray worker has a process below it in which its jobs are done.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cbt_ray.errors import Infrastructure
from cbt_ray.llm.meter import Gate
from cbt_ray.llm.request import Usage
from cbt_ray.study import Study
from cbt_ray.work import ray_runtime
from cbt_ray.work.engine import Engine, InlineEngine, ProcessEngine, Say, available_cpus, cpus_of
from cbt_ray.work.job import Cause, Job, Loss, Outcome, Work, name_of
from cbt_ray.work.loss import Losses
from cbt_ray.work.progress import Watch
from cbt_ray.work.worker import Worker
from cbt_ray.work.workplace import Spec

PATIENCE_S = 30.0
"""Seconds without an end of a job, after which it is asked whether any node is large enough."""


class RayEngine(ProcessEngine):
    """Ray tasks, one a job. Ray starts with the first stage that needs it: two jobs at once."""

    def __init__(
        self, study: Study, store: str, spent: Usage, address: str | None, say: Say
    ) -> None:
        super().__init__(study, store, spent, say)
        self.address = address
        self._board: Any = None
        self._ray: ray_runtime.Ray | None = None
        self._seen = 0

    def run(
        self, work: Work, jobs: Sequence[Job], roles: tuple[str, ...], cpus: float, watch: Watch
    ) -> Iterator[Outcome]:
        """Run jobs as tasks that take `cpus` CPUs each; one at a time needs no Ray."""
        if not self.address and (len(jobs) == 1 or self._width(cpus, available_cpus()) == 1):
            yield from super().run(work, jobs, roles, cpus, watch)
            return
        self._start()
        import ray

        spec = Spec(self.study, self.store, self._meter, _silent, roles, self._run)
        task = ray.remote(attempt_in_worker).options(num_cpus=cpus, max_retries=0)
        losses, stopped, last = Losses(self.say), False, time.monotonic()
        waiting, pending = deque(jobs), dict[Any, Job]()
        while waiting or pending:
            free = self._width(cpus, ray.cluster_resources().get("CPU", 1.0)) - len(pending)
            for job in [waiting.popleft() for _ in range(min(free, len(waiting)))]:
                pending[
                    task.remote(
                        work, replace(spec, note=_BoardNote(self._board, name_of(job))), job
                    )
                ] = job
            done, _ = ray.wait(list(pending), num_returns=1, timeout=0.5)
            self._tell(watch, losses)
            last = self._look_at_cluster(cpus, time.monotonic() if done else last)
            for result in done:
                job = pending.pop(result)
                outcome = losses.settle(name_of(job), _result(result))
                if outcome is None and not stopped:
                    waiting.appendleft(job)
                if outcome is None:
                    continue
                yield outcome
                if outcome.stop and not stopped:
                    stopped = True
                    waiting.clear()  # what is under way ends by itself: its next call is refused
                    self._meter.halt(str(outcome.stop))
        self._tell(watch, losses)

    def _width(self, cpus: float, available: float) -> int:
        """Jobs at once: the study file's number of workers, else as many as the CPUs allow."""
        return self.study.engine.workers or max(1, int(available / cpus))

    def close(self) -> None:
        """End the worker, and Ray, if it was started."""
        super().close()
        if self._ray is not None:
            self._ray.stop()
            self._ray = self._board = None

    def _tell(self, watch: Watch, losses: Losses) -> None:
        import ray

        try:
            news = ray.get(self._board.since.remote(self._seen))
        except (
            ray.exceptions.RayActorError
        ) as error:  # its node is gone, and with it only the display
            raise Infrastructure(
                "Ray's head or the driver's node is lost; run again", "connection"
            ) from error
        self._seen += len(news)
        for job, key, outcome in news:
            losses.progress(job)
            watch(key, outcome)

    def _look_at_cluster(self, cpus: float, last: float) -> float:
        """Say that no node is large enough for a job; answers when to begin counting anew."""
        if time.monotonic() - last < PATIENCE_S:
            return last
        import ray

        largest = max(
            (node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]),
            default=0.0,
        )
        if largest < cpus:
            self.say(
                f"a job takes {cpus:g} CPUs, and the largest node of the cluster has {largest:g}: "
                "waiting for another one"
            )
        return time.monotonic()

    def _start(self) -> None:
        if self._ray is not None:
            return
        self.say(f"joining Ray at {self.address}" if self.address else "starting Ray")
        self._ray = ray_runtime.begin(self.address, **self._local())
        import ray

        from cbt_ray.llm import ray_meter

        self._board = ray.remote(Board).options(**ray_meter.beside_the_driver()).remote()
        self._seen = 0
        # one a run: two studies on a cluster do not share one
        name = f"meter-{self.study.study}-{self._run}"
        meter: Gate = ray_meter.actor(
            name, self.study.endpoints, self.study.budget, spent=self._meter.totals()
        )
        self._meter = meter

    def _local(self) -> dict[str, Any]:
        """Settings of our own Ray: CPUs for the wished workers in every stage, little memory."""
        largest = cpus_of(
            self.study,
            [*self.study.roles.named.values(), *map(self.study.therapist, self.study.arms)],
        )
        number = max(available_cpus(), math.ceil(largest * (self.study.engine.workers or 1)))
        return {"num_cpus": number, "include_dashboard": False, "object_store_memory": 100 << 20}


def attempt_in_worker(work: Work, spec: Spec, job: Job) -> Outcome:
    """What a Ray task does: a job, in the process below this one; its models stay open."""
    return _workers.setdefault("here", Worker()).do(work, spec, job)


_workers: dict[str, Worker] = {}


class Board:
    """The list of settled units, kept by one Ray actor; the driver reads on where it left off."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, str]] = []

    def note(self, job: str, key: str, outcome: str) -> None:
        """A worker settled a unit of a job."""
        self.notes.append((job, key, outcome))

    def since(self, number: int) -> list[tuple[str, str, str]]:
        """What is new."""
        return self.notes[number:]


@dataclass(frozen=True)
class _BoardNote:
    board: Any
    job: str

    def __call__(self, key: str, outcome: str) -> None:
        self.board.note.remote(self.job, key, outcome)


def _silent(_key: str, _outcome: str) -> None:
    """Each job has a note of its own."""


def _result(reference: Any) -> Outcome:
    """What a task left; where Ray lost it, why. What crashes is in the process below Ray's."""
    import ray

    try:
        outcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except ray.exceptions.OutOfMemoryError:
        return Outcome(lost=Loss(Cause.MEMORY, "its node was short of memory, and Ray ended it"))
    except ray.exceptions.WorkerCrashedError:
        return Outcome(lost=Loss(Cause.OUTSIDE, "killed from outside"))
    except ray.exceptions.NodeDiedError:
        return Outcome(lost=Loss(Cause.OUTSIDE, "its node is gone"))
    except ray.exceptions.RayError as error:
        return Outcome(lost=Loss(Cause.OUTSIDE, f"Ray says {type(error).__name__}"))
    return outcome if isinstance(outcome, Outcome) else Outcome()


def open_engine(
    study: Study, store: str, spent: Usage, say: Say, *, inline: bool = False
) -> Engine:
    """The engine that a study file asks for; RAY_ADDRESS names a cluster, too.

    `store` is its URL, the same for all workers.
    """
    if inline:
        return InlineEngine(study, store, spent)
    return RayEngine(
        study, store, spent, os.environ.get("RAY_ADDRESS") or study.engine.address, say
    )
