"""The meter: what endpoints bear (calls at once, a minute) and what the study may cost, over all
workers.

It leases leave in blocks: each worker has a share of the budget and of the calls at once, and says
in its next claim what it used of them. What a worker may still use is set aside, so the sum over
all workers stays within what was allowed, whatever they do and whenever they are lost.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Lock

from cbt_ray.llm.lease import Claim, Grant, Need, Ticket
from cbt_ray.llm.request import Usage
from cbt_ray.study.endpoint import Endpoint, Limits
from cbt_ray.study.study import Budget

WINDOW_S = 61.0
"""A minute, and a second for a call to leave the machine after it was allowed."""
POLL_S = 0.1
"""Wait before asking again for what others have: nobody knows when it becomes free."""
SETTLE_S = 1.0
"""Wait before a claim where others have nothing that is wanted."""
SHARE = 4
"""A worker's block is this part of its even share of what is left, so that all go on to the end."""
MEAN_COSTS = 100
"""Calls that a budget of dollars is taken to pay, as long as none has told its price."""


@dataclass
class _Worker:
    """What a worker may use without asking, and what it last wanted."""

    left: dict[str, float] = field(default_factory=dict)
    aside: Mapping[str, float] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    needs: Mapping[str, Need] = field(default_factory=dict)


@dataclass
class _Window:
    """The calls of the last minute at one endpoint."""

    limits: Limits
    begun: deque[tuple[float, Ticket]] = field(default_factory=deque)
    tokens: dict[Ticket, int] = field(default_factory=dict)
    """Tokens of each call of the window: the estimate, then the endpoint's own count."""

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        while self.begun and self.begun[0][0] <= now - WINDOW_S:
            self.tokens.pop(self.begun.popleft()[1], None)

    def wait(self, now: float, tokens: int) -> float:
        """Seconds until a call of so many tokens may begin; 0 is now."""
        limits, waits = self.limits, [0.0]
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
    """Leases what one run of a study may use; safe for threads.

    A call counts when it begins, so the budget of calls is never overshot; tokens and cost are
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
        self.endpoints = endpoints
        self.budget = budget
        self._limits: Mapping[str, Limits] = endpoints
        self._windows = {name: _Window(one) for name, one in endpoints.items() if rated(one)}
        self._amounts = limits_of(budget)
        self._spent = deepcopy(spent) if spent is not None else Usage()
        self._clock = clock
        self._tickets = 0
        self._halted: str | None = None
        self._workers: dict[str, _Worker] = {}
        self._lock = Lock()

    def settle(self, worker: str, claim: Claim) -> None:
        """Count what a worker used; what it does not keep is free for others."""
        with self._lock:
            held = self._workers.setdefault(worker, _Worker())
            self._spent.add(claim.used)
            held.needs, held.left, held.aside = claim.needs, dict(claim.left), claim.aside
            for name, need in claim.needs.items():
                held.slots[name] = need.slots
                if name in self._windows:
                    known = self._windows[name].tokens
                    known |= {one: n for one, n in need.ended.items() if one in known}

    def grant(self, worker: str) -> Grant:
        """Lease a worker what its last claim asks for, as far as it is there."""
        with self._lock:
            held = self._workers.setdefault(worker, _Worker())
            refused = self._refused()
            if refused is not None:
                return Grant(refused=refused)
            more = self._more(held)
            slots = {name: self._slots(held, name) for name in held.needs if self._slotted(name)}
            tickets, waits = dict[str, tuple[Ticket, ...]](), list[float]()
            for name in held.needs.keys() & self._windows.keys():
                room = self._room(held, name, slots.get(name))
                without = held.needs[name].waiting[held.needs[name].tickets : room]
                tickets[name], wait = self._ticketed(name, without)
                waits += [wait] if wait is not None else []
            waits.append(POLL_S if self._lacks(held, slots) else SETTLE_S)
            return Grant(more, slots, tickets, again_s=min(waits))

    def leave(self, worker: str) -> None:
        """A worker is gone: its slots are free.

        The calls that it had leave for count as sent, since nobody knows which were.
        """
        with self._lock:
            held = self._workers.pop(worker, _Worker())
            self._spent.calls += int(held.left.get("calls", 0))

    def totals(self) -> Usage:
        """All that was told of so far, with what the study had spent before this run."""
        with self._lock:
            return deepcopy(self._spent)

    def halt(self, reason: str) -> None:
        """Refuse every further call, for this reason: what is under way must not go on paying."""
        with self._lock:
            self._halted = reason

    def _refused(self) -> str | None:
        if self._halted is not None:
            return self._halted
        for name, limit in self._amounts.items():
            used = getattr(self._spent, name)
            if used >= limit:
                return (
                    f"budget.{name}: {limit:g} reached ({used:g} spent); raise it in the study "
                    "file and run again"
                )
        return None

    def _more(self, held: _Worker) -> dict[str, float]:
        """Of each quantity of the budget, what is leased beyond what the worker keeps."""
        found = {}
        busy = any(need.running or need.waiting for need in held.needs.values())
        for name, limit in self._amounts.items():
            others = sum(one.left.get(name, 0.0) for one in self._workers.values())
            free = max(0.0, limit - getattr(self._spent, name) - others)
            block = free / (SHARE * len(self._workers)) if busy else 0.0
            wish = max(self._wish(name, held), block)
            more = min(free, max(0.0, wish - held.left.get(name, 0.0)))
            found[name] = float(-(-more // 1)) if name == "calls" else more
            held.left[name] = held.left.get(name, 0.0) + found[name]
        return found

    def _wish(self, name: str, held: _Worker) -> float:
        """What the calls that are under way and those that wait will take, as far as it can be
        told.
        """
        waiting = [tokens for need in held.needs.values() for tokens in need.waiting]
        if name == "calls":
            return float(len(waiting))
        if name == "tokens":
            return sum(waiting) + held.aside.get(name, 0.0)
        told = self._spent.cost / self._spent.calls if self._spent.cost else 0.0
        each = told or self._amounts["cost"] / MEAN_COSTS
        return len(waiting) * each + held.aside.get(name, 0.0)

    def _slotted(self, name: str) -> bool:
        return self._limits[name].max_concurrency is not None

    def _slots(self, held: _Worker, name: str) -> int:
        """Calls at once that a worker may have: what it wants, and no more than its even share
        where others want theirs.

        Slots without budget are for others, who may have budget and no slot. Until its next claim
        it may still use what it had.
        """
        limit, need = self._limits[name].max_concurrency or 0, held.needs[name]
        others = [one for one in self._workers.values() if one is not held]
        free = limit - sum(one.slots.get(name, 0) for one in others)
        wanting = [(one.slots[name], one.needs[name]) for one in others if name in one.needs]
        share = max(1, limit // (1 + sum(bool(their.wanted) for _, their in wanting)))
        short = any(their.waiting and slots < min(share, their.wanted) for slots, their in wanting)
        wish = max(need.wanted, need.running) if _pays(held) else need.running
        target = max(0, min(wish, free, share if short else limit))
        held.slots[name] = max(held.slots.get(name, 0), target)
        return target

    def _lacks(self, held: _Worker, slots: Mapping[str, int]) -> bool:
        """Whether a worker waits for what others have."""
        return any(self._wish(name, held) > held.left[name] for name in self._amounts) or any(
            held.needs[name].waiting and many < (self._limits[name].max_concurrency or 0)
            for name, many in slots.items()
        )

    def _room(self, held: _Worker, name: str, slots: int | None) -> int:
        """Waiting calls that nothing but the minute keeps: a ticket is for a call that begins at
        once.
        """
        need = held.needs[name]
        room = len(need.waiting) if slots is None else max(0, slots - need.running)
        if not _pays(held):
            return 0
        return min(room, int(held.left.get("calls", room)))

    def _ticketed(
        self, name: str, waiting: tuple[int, ...]
    ) -> tuple[tuple[Ticket, ...], float | None]:
        """Leave for calls that wait, as many as this minute bears; seconds until it bears the
        next.
        """
        window, now, found = self._windows[name], self._clock(), list[Ticket]()
        window.forget(now)
        for tokens in waiting:
            wait = window.wait(now, tokens)
            if wait > 0:
                return tuple(found), wait
            self._tickets += 1
            window.begun.append((now, self._tickets))
            window.tokens[self._tickets] = tokens
            found.append(self._tickets)
        return tuple(found), None


def _pays(held: _Worker) -> bool:
    """Whether a worker has some of all that the budget limits, beyond what calls under way take."""
    return all(left > held.aside.get(name, 0.0) for name, left in held.left.items())


def rated(limits: Limits) -> bool:
    """Whether an endpoint's calls or tokens of a minute are counted."""
    return limits.requests_per_minute is not None or limits.tokens_per_minute is not None


def limits_of(budget: Budget) -> dict[str, float]:
    """The quantities of a budget that have a limit."""
    named = {"calls": budget.calls, "tokens": budget.tokens, "cost": budget.cost}
    return {name: float(limit) for name, limit in named.items() if limit is not None}
