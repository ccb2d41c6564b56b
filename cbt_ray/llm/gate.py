"""The gate: leave to call models for the threads of one process, out of what its meter leased it.

A call that needs nothing new of the meter begins at once. What waits begins in order, endpoint by
endpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock

from cbt_ray.errors import BudgetReached
from cbt_ray.llm.lease import Claim, Grant, Need, Ticket
from cbt_ray.llm.meter import POLL_S, Meter, limits_of, rated
from cbt_ray.llm.request import Usage
from cbt_ray.study.endpoint import Endpoint, Limits
from cbt_ray.study.study import Budget


@dataclass(frozen=True)
class Permit:
    """Leave to send one call."""

    endpoint: str
    ticket: Ticket | None = None
    set_aside: Mapping[str, float] = field(default_factory=dict)
    """Of the budget, until it is known what the call cost."""


@dataclass
class _Waiting:
    """A call that waits for leave."""

    tokens: int
    permit: Permit | None = None
    settled: Event = field(default_factory=Event)


@dataclass
class _Lane:
    """One endpoint: the calls under way, those that wait, and what they may have."""

    limits: Limits
    slots: int = 0
    running: int = 0
    wanted: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)
    tickets: deque[Ticket] = field(default_factory=deque)
    ended: dict[Ticket, int] = field(default_factory=dict)

    def is_open(self) -> bool:
        """Whether the endpoint bears one more call of this process."""
        bears = self.limits.max_concurrency is None or self.running < self.slots
        return bears and (bool(self.tickets) or not rated(self.limits))

    def need(self, *, idle: bool) -> Need:
        """What a claim says of it; slots that nobody wanted since the last one are given back."""
        self.slots = 0 if idle else max(self.running, min(self.slots, self.wanted))
        waiting = tuple(one.tokens for one in self.waiting)
        need = Need(self.slots, self.wanted, self.running, waiting, self.ended, len(self.tickets))
        self.wanted, self.ended = self.running + len(waiting), {}
        return need


class Gate:
    """Leave for the threads of one process.

    `ask` is called, without a lock, when a call waits for what the meter has: it has a claim sent,
    and answers the seconds after which the call asks again; None where whoever sends the claims
    goes on as long as a call waits. `ended` is called, without a lock, after each call.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        budget: Budget,
        ask: Callable[[], float | None],
        *,
        pause: float | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._lanes = {name: _Lane(endpoint) for name, endpoint in endpoints.items()}
        self._left = dict.fromkeys(limits_of(budget), 0.0)
        self._set_aside = dict.fromkeys(self._left, 0.0)
        self._used, self._cost = Usage(), _Mean()
        self._refused: str | None = None
        self._ask = ask
        self._pause = pause
        self._ended = ended
        self._lock = Lock()

    def acquire(self, endpoint: str, tokens: int) -> Permit:
        """Leave to call, as soon as there is some; raises BudgetReached.

        `tokens` is the estimate that counts until the call's own count is known.
        """
        one, lane = _Waiting(tokens), self._lanes[endpoint]
        with self._lock:
            lane.waiting.append(one)
            lane.wanted = max(lane.wanted, lane.running + len(lane.waiting))
            self._serve(endpoint)
        pause = self._pause
        while not one.settled.is_set():
            if self._is_for_the_meter(lane, one):
                pause = self._ask()
            one.settled.wait(pause)
        if one.permit is None:
            raise BudgetReached(self._refused or "")
        return one.permit

    def release(self, permit: Permit, usage: Usage) -> None:
        """The call has ended and cost this much; one that was never sent counts no more."""
        with self._lock:
            lane = self._lanes[permit.endpoint]
            lane.running -= 1
            if permit.ticket is not None:
                lane.ended[permit.ticket] = usage.tokens
            self._used.add(usage)
            self._used.calls -= 1  # it was counted when it began
            self._cost.add(usage.cost)
            for name, amount in permit.set_aside.items():
                self._set_aside[name] -= amount
                self._left[name] -= usage.tokens if name == "tokens" else usage.cost
            for name in self._lanes:
                self._serve(name)
        self._ended()

    def claim(self) -> Claim:
        """What to tell the meter; every slot and amount that it does not keep is gone."""
        with self._lock:
            idle = not any(lane.running or lane.waiting for lane in self._lanes.values())
            for name, left in self._left.items():
                self._left[name] = 0.0 if idle else max(0.0, left)
            used, self._used = self._used, Usage()
            needs = {
                name: lane.need(idle=idle)
                for name, lane in self._lanes.items()
                if lane.limits.max_concurrency is not None or rated(lane.limits) or lane.waiting
            }
            return Claim(used, dict(self._left), dict(self._set_aside), needs)

    def take(self, grant: Grant) -> None:
        """What the meter leased: calls that waited for it begin."""
        with self._lock:
            self._refused = self._refused or grant.refused
            for name, more in grant.more.items():
                self._left[name] += more
            for name, slots in grant.slots.items():
                self._lanes[name].slots = slots
            for name, tickets in grant.tickets.items():
                self._lanes[name].tickets.extend(tickets)
            for name in self._lanes:
                self._serve(name)

    def halt(self, reason: str) -> None:
        """Refuse every further call of this process, for this reason."""
        self.take(Grant(refused=reason))

    def waits(self) -> bool:
        """Whether a call waits."""
        return any(lane.waiting for lane in self._lanes.values())

    def _is_for_the_meter(self, lane: _Lane, one: _Waiting) -> bool:
        """Whether the meter has what a call waits for: not where all that the endpoint bears is
        here, and not where the call before it has asked.
        """
        with self._lock:
            first = bool(lane.waiting) and lane.waiting[0] is one
            full = lane.slots == lane.limits.max_concurrency and not rated(lane.limits)
            return first and not (full and self._affords())

    def _serve(self, endpoint: str) -> None:
        """Let the calls begin that may, in order."""
        lane = self._lanes[endpoint]
        while lane.waiting and (self._refused is not None or self._may(lane)):
            one = lane.waiting.popleft()
            if self._refused is None:
                one.permit = self._begun(endpoint, lane, one.tokens)
            one.settled.set()

    def _may(self, lane: _Lane) -> bool:
        return lane.is_open() and self._affords()

    def _affords(self) -> bool:
        """Whether the budget pays one more call, and all that is under way as it is estimated."""
        return all(left > self._set_aside[name] for name, left in self._left.items())

    def _begun(self, endpoint: str, lane: _Lane, tokens: int) -> Permit:
        lane.running += 1
        self._used.calls += 1
        if "calls" in self._left:
            self._left["calls"] -= 1
        estimates = {"tokens": float(tokens), "cost": self._cost.mean}
        aside = {name: one for name, one in estimates.items() if name in self._left}
        for name, amount in aside.items():
            self._set_aside[name] += amount
        return Permit(endpoint, lane.tickets.popleft() if rated(lane.limits) else None, aside)


@dataclass
class _Mean:
    """What calls cost so far, on the average."""

    calls: int = 0
    mean: float = 0.0

    def add(self, cost: float) -> None:
        """One more."""
        self.calls += 1
        self.mean += (cost - self.mean) / self.calls


def gate_of(meter: Meter, name: str = "here") -> Gate:
    """A gate whose meter is in this process; `name` tells it from the meter's workers.

    It keeps nothing beyond its calls: nobody would ask it for that.
    """
    in_turn = Lock()

    def ask() -> float:
        with in_turn:
            meter.settle(name, gate.claim())
            grant = meter.grant(name)
            gate.take(grant)
        return grant.again_s

    def tell() -> None:
        with in_turn:
            meter.settle(name, gate.claim())

    gate = Gate(meter.endpoints, meter.budget, ask, pause=POLL_S, ended=tell)
    return gate
