"""Workers on a Ray cluster: an actor each, with the process below it in which its jobs are done.

So the same process says by which signal it died, here as on a node far away.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from cbt_ray.errors import Infrastructure
from cbt_ray.work import ray_cluster
from cbt_ray.work.engine import Needs, Say, close_all
from cbt_ray.work.job import Cause, Loss, Orders, Report, Work
from cbt_ray.work.loss import LOST_WORKERS
from cbt_ray.work.worker import END_S, Worker
from cbt_ray.work.workshop import Setting

LOOK_S = 5.0
"""Seconds that an actor without a node is waited for at a time."""
PATIENCE_S = 30.0
"""Seconds between two looks at whether any node is large enough for it."""


class RayCrew:
    """Workers on the nodes of a cluster, which is joined with the first."""

    def __init__(self, address: str, say: Say) -> None:
        self._address = address
        self._say = say
        self._joined = False
        self._workers: list[RayWorker] = []

    def width(self, needs: Needs) -> int:
        """As many as the nodes' CPUs allow; one a node where all it does is wait."""
        self._join()
        room = [int(cpus // needs.cpus) for cpus in _cpus_of_nodes()]
        return max(1, sum(map(bool, room)) if needs.only_waits else sum(room))

    def hands(self, number: int, needs: Needs) -> Sequence[RayWorker]:
        """An actor each; Ray finds a node for it, or waits for one.

        Those of an earlier stage that take other CPUs are in the way, and end.
        """
        close_all([worker for worker in self._workers if worker.cpus != needs.cpus])
        self._workers = [worker for worker in self._workers if worker.cpus == needs.cpus]
        missing = range(number - len(self._workers))
        self._workers += [RayWorker(needs.cpus, self._say) for _ in missing]
        return self._workers[:number]

    def close(self) -> None:
        """End them, and leave the cluster."""
        close_all(self._workers)
        if self._joined:
            import ray

            ray.shutdown()

    def _join(self) -> None:
        if not self._joined:
            self._say(f"joining Ray at {self._address}")
            ray_cluster.join(self._address)
            self._joined = True


class RayWorker:
    """An actor, begun when it is asked for, and anew after a loss."""

    def __init__(self, cpus: int, say: Say) -> None:
        self.cpus = cpus
        self._say = say
        self._actor: Any = None
        self._told: Any = None
        """What the actor answers as soon as it is there and knows the stage; None once it has."""
        self._looked = 0.0
        self._failures = 0
        """Actors in a row that were lost before they knew the stage."""
        self._stage: tuple[Work, Setting] | None = None

    def begin(self, work: Work, setting: Setting) -> None:
        """Say what the jobs of the next orders are."""
        self._stage = work, setting
        if self._actor is not None:
            self._told = self._actor.begin.remote(work, setting)

    def is_there(self) -> bool:
        """Whether Ray found a node for the actor; an order before would wait there with its
        jobs.
        """
        import ray

        if self._actor is None:
            self._hire()
        if self._told is None:
            return True
        if not ray.wait([self._told], timeout=LOOK_S)[0]:
            self._look_at_cluster()
            return False
        try:
            ray.get(self._told)
        except ray.exceptions.RayActorError as error:
            return self._failed(_loss(error))
        self._failures, self._told = 0, None
        return True

    def _failed(self, loss: Loss) -> bool:
        """It was lost before it knew the stage; raises Infrastructure where that goes on."""
        self._actor = None
        self._failures += 1
        if self._failures >= LOST_WORKERS:
            raise Infrastructure(
                f"no worker begins on the cluster ({loss.words}); run again", "connection"
            )
        return False

    def exchange(self, orders: Orders) -> Report | Loss:
        """Give orders, wait for the report; where the actor or its process is lost, why."""
        import ray

        try:
            answer: Report | Loss = ray.get(self._actor.exchange.remote(orders))
            return answer
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            self._actor = None
            return _loss(error)

    def close(self) -> None:
        """End the process, by which it records what the units under way cost, and the actor."""
        if self._actor is None:
            return
        import ray

        if self._told is None or ray.wait([self._told], timeout=0)[0]:  # else it has no node yet
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._actor.close.remote(), timeout=2 * END_S)
        ray.kill(self._actor)
        self._actor = None

    def _hire(self) -> None:
        import ray

        options = {"num_cpus": self.cpus, "scheduling_strategy": "SPREAD"}
        self._actor = ray.remote(_Host).options(**options).remote()
        self._told = self._actor.begin.remote(*self._stage or ())
        self._looked = time.monotonic()

    def _look_at_cluster(self) -> None:
        """Say that no node is large enough for a worker."""
        if time.monotonic() < self._looked + PATIENCE_S:
            return
        self._looked = time.monotonic()
        largest = max(_cpus_of_nodes(), default=0.0)
        if largest < self.cpus:
            self._say(
                f"a worker takes {self.cpus:g} CPUs, and the largest node of the cluster has "
                f"{largest:g}: waiting for another one"
            )


class _Host:
    """What runs in the actor."""

    def __init__(self) -> None:
        self._worker = Worker()

    def begin(self, work: Work, setting: Setting) -> None:
        self._worker.begin(work, setting)

    def exchange(self, orders: Orders) -> Report | Loss:
        return self._worker.exchange(orders)

    def close(self) -> None:
        self._worker.close()


def _cpus_of_nodes() -> list[float]:
    """The CPUs of each node that is alive."""
    import ray

    return [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]


def _loss(error: Exception) -> Loss:
    """Why Ray lost an actor; what crashes is in the process below it."""
    import ray

    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return Loss(Cause.MEMORY, "its node was short of memory, and Ray ended it")
    if isinstance(error, ray.exceptions.NodeDiedError):
        return Loss(Cause.OUTSIDE, "its node is gone")
    if isinstance(error, ray.exceptions.ActorDiedError):
        return Loss(Cause.OUTSIDE, "killed from outside, or its node is gone")
    return Loss(Cause.OUTSIDE, f"Ray says {type(error).__name__}")
