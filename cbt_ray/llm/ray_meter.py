"""The meter for the processes of a Ray cluster: one actor holds it, every worker asks the actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cbt_ray.errors import BudgetReached, Infrastructure
from cbt_ray.llm.meter import Meter, Permit
from cbt_ray.llm.request import Usage
from cbt_ray.study.endpoint import Endpoint
from cbt_ray.study.study import Budget


class _Actor:
    """What runs in the actor.

    An exhausted budget goes back as text: Ray wraps exceptions, and a budget is no crash.
    """

    def __init__(
        self, endpoints: Mapping[str, Endpoint], budget: Budget, spent: Usage | None
    ) -> None:
        self._meter = Meter(endpoints, budget, spent=spent)

    def acquire(self, endpoint: str, tokens: int) -> Permit | float | str:
        try:
            return self._meter.acquire(endpoint, tokens)
        except BudgetReached as reached:
            return str(reached)

    def release(self, permit: Permit, usage: Usage) -> None:
        self._meter.release(permit, usage)

    def totals(self) -> Usage:
        return self._meter.totals()

    def halt(self, reason: str) -> None:
        self._meter.halt(reason)


class RayMeter:
    """A handle on the actor; small, and can be passed to tasks."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def acquire(self, endpoint: str, tokens: int) -> Permit | float:
        """See Gate."""
        answer = self._get(lambda: self._handle.acquire.remote(endpoint, tokens))
        if isinstance(answer, str):
            raise BudgetReached(answer)
        permit: Permit | float = answer
        return permit

    def release(self, permit: Permit, usage: Usage) -> None:
        """See Gate; waited for, so that the next call's budget check has seen it."""
        self._get(lambda: self._handle.release.remote(permit, usage))

    def totals(self) -> Usage:
        """See Gate."""
        usage: Usage = self._get(self._handle.totals.remote)
        return usage

    def halt(self, reason: str) -> None:
        """See Gate."""
        self._get(lambda: self._handle.halt.remote(reason))

    def _get(self, call: Callable[[], Any]) -> Any:
        import ray

        try:
            # Not ray.get: a task that waits in it gives up its CPUs, and Ray would start more
            # workers than there are cores.
            return call().future().result()
        except (
            ray.exceptions.RayActorError
        ) as error:  # its node went; the unit stays owed and the rerun starts a new one
            raise Infrastructure("the meter's actor is lost", "connection") from error


def actor(
    name: str, endpoints: Mapping[str, Endpoint], budget: Budget, *, spent: Usage | None = None
) -> RayMeter:
    """Start the study's meter as a Ray actor, or find the one that runs under this name.

    It takes no CPU from the workers.
    """
    import ray

    options = {"name": name, "namespace": "cbt-ray", "get_if_exists": True, **beside_the_driver()}
    return RayMeter(ray.remote(_Actor).options(**options).remote(dict(endpoints), budget, spent))


def beside_the_driver() -> dict[str, Any]:
    """Options of an actor that lives on the driver's node: a lost worker must not take it along,
    and it takes no CPU.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)}
