"""The meter: what endpoints bear (calls at once, a minute) and what the study may cost, over all
workers.

`Meter` is the pure core with its clock as an argument; `LocalMeter` serves threads, `RayMeter`
(ray_meter.py) serves processes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from cbt_ray.errors import BudgetReached
from cbt_ray.llm.request import Usage
from cbt_ray.study.endpoint import Endpoint, Limits, LiteLLMEndpoint, ScriptedEndpoint
from cbt_ray.study.study import Budget

WINDOW_S = 60.0
POLL_S = 0.1
"""Wait before asking again when every slot is taken: nobody knows when one becomes free."""
IN_PROCESS_LEASE_S = 900.0
"""Longest call of a model in this process; only a killed worker's slot is ever reclaimed by it."""
MARGIN_S = 30.0


@dataclass(frozen=True)
class Permit:
    """Leave to send one call; a lease, so that a killed worker's slot comes back by itself."""

    endpoint: str
    number: int


class Gate(Protocol):
    """What a caller needs of a meter, wherever the meter runs."""

    def acquire(self, endpoint: str, tokens: int) -> Permit | float:
        """Leave to call, or the seconds to wait before asking again; raises BudgetReached.

        `tokens` is the estimate that counts against the tokens of a minute until the call's own
        count is known.
        """
        ...

    def release(self, permit: Permit, usage: Usage) -> None:
        """The call has ended and cost this much."""
        ...

    def totals(self) -> Usage:
        """All that was spent so far, with what the study had spent before this run."""
        ...

    def halt(self, reason: str) -> None:
        """Refuse every further call, for this reason: what is under way must not go on paying."""
        ...


@dataclass
class _Lane:
    """One endpoint's state: leases by number, and what began in the last minute."""

    limits: Limits
    lease_s: float
    leases: dict[int, float] = field(default_factory=dict)
    begun: deque[tuple[float, int]] = field(default_factory=deque)
    """When each call of the window began, and its number."""
    tokens: dict[int, int] = field(default_factory=dict)
    """Tokens of each call of the window: the estimate, then the endpoint's own count."""

    def forget(self, now: float) -> None:
        """Drop what is older than the window, and leases that ran out."""
        while self.begun and self.begun[0][0] <= now - WINDOW_S:
            self.tokens.pop(self.begun.popleft()[1], None)
        for number in [number for number, end in self.leases.items() if end <= now]:
            del self.leases[number]

    def wait(self, now: float, tokens: int) -> float:
        """Seconds until a call of so many tokens may begin; 0 is now."""
        limits = self.limits
        if limits.max_concurrency is not None and len(self.leases) >= limits.max_concurrency:
            return POLL_S
        waits = [0.0]
        if limits.requests_per_minute is not None and len(self.begun) >= limits.requests_per_minute:
            waits.append(self.begun[-limits.requests_per_minute][0] + WINDOW_S - now)
        if limits.tokens_per_minute is not None:
            waits.append(self._tokens_wait(now, tokens, limits.tokens_per_minute))
        return max(waits)

    def _tokens_wait(self, now: float, tokens: int, limit: int) -> float:
        """A call larger than the limit itself goes alone, in an empty window: refusing it for ever
        helps nobody.
        """
        used = sum(self.tokens.values())
        for begun, number in self.begun:
            if used + tokens <= limit:
                return 0.0
            used -= self.tokens[number]
            if used + tokens <= limit or used <= 0:
                return begun + WINDOW_S - now
        return 0.0


class Meter:
    """The core, for one thread.

    A call counts when it is let go, so the budget of calls is never overshot; tokens and cost are
    known only afterwards, so they can be overshot by the calls in flight.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        budget: Budget,
        *,
        spent: Usage | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = {
            name: _Lane(endpoint, _lease(endpoint)) for name, endpoint in endpoints.items()
        }
        self._budget = budget
        self._spent = deepcopy(spent) if spent is not None else Usage()
        self._clock = clock
        self._numbers = 0
        self._halted: str | None = None

    def acquire(self, endpoint: str, tokens: int) -> Permit | float:
        """See Gate."""
        self._check_budget()
        lane, now = self._lanes[endpoint], self._clock()
        lane.forget(now)
        wait = lane.wait(now, tokens)
        if wait > 0:
            return wait
        self._numbers += 1
        lane.leases[self._numbers] = now + lane.lease_s
        lane.begun.append((now, self._numbers))
        lane.tokens[self._numbers] = tokens
        self._spent.calls += 1
        return Permit(endpoint, self._numbers)

    def release(self, permit: Permit, usage: Usage) -> None:
        """See Gate.

        The call itself was counted when it was let go; one that was never sent counts no more.
        """
        lane = self._lanes[permit.endpoint]
        lane.leases.pop(permit.number, None)
        if permit.number in lane.tokens:
            lane.tokens[permit.number] = usage.tokens
        self._spent.add(usage)
        self._spent.calls -= 1

    def totals(self) -> Usage:
        """See Gate."""
        return deepcopy(self._spent)

    def halt(self, reason: str) -> None:
        """See Gate."""
        self._halted = reason

    def _check_budget(self) -> None:
        if self._halted is not None:
            raise BudgetReached(self._halted)
        spent, budget = self._spent, self._budget
        for name, limit, used in (
            ("calls", budget.calls, spent.calls),
            ("tokens", budget.tokens, spent.tokens),
            ("cost", budget.cost, spent.cost),
        ):
            if limit is not None and used >= limit:
                raise BudgetReached(
                    f"budget.{name}: {limit} reached ({used:g} spent); raise it in the study file "
                    "and run again"
                )


class LocalMeter:
    """The meter for threads of one process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = Lock()

    def acquire(self, endpoint: str, tokens: int) -> Permit | float:
        """See Gate."""
        with self._lock:
            return self._meter.acquire(endpoint, tokens)

    def release(self, permit: Permit, usage: Usage) -> None:
        """See Gate."""
        with self._lock:
            self._meter.release(permit, usage)

    def totals(self) -> Usage:
        """See Gate."""
        with self._lock:
            return self._meter.totals()

    def halt(self, reason: str) -> None:
        """See Gate."""
        with self._lock:
            self._meter.halt(reason)


def _lease(endpoint: Endpoint) -> float:
    if isinstance(endpoint, LiteLLMEndpoint):
        return endpoint.timeout_s + MARGIN_S
    if isinstance(endpoint, ScriptedEndpoint):
        return endpoint.latency_s + MARGIN_S
    return IN_PROCESS_LEASE_S
