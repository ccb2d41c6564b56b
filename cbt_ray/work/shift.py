"""A shift: the jobs of one stage, given out to workers and taken back from those that are lost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Condition
from typing import Protocol

from cbt_ray.llm.meter import Meter
from cbt_ray.work.job import Job, Loss, Orders, Outcome, Report, Work, name_of
from cbt_ray.work.loss import Losses
from cbt_ray.work.progress import Watch
from cbt_ray.work.workshop import Setting

LOOK_S = 5.0
"""Seconds between two looks at whether there is room for more workers."""


class Hand(Protocol):
    """A worker, wherever it is."""

    def begin(self, work: Work, setting: Setting) -> None:
        """Say what the jobs of the next orders are."""
        ...

    def is_there(self) -> bool:
        """Whether it takes orders; may wait a few seconds for that."""
        ...

    def exchange(self, orders: Orders) -> Report | Loss:
        """Give orders, wait for the report; where the worker is lost, why."""
        ...


class Shift:
    """The jobs of a stage; each worker has a thread here that speaks with it (see `serve`)."""

    def __init__(
        self,
        jobs: Sequence[Job],
        chains: Callable[[int], int],
        meter: Meter,
        losses: Losses,
        watch: Watch,
    ) -> None:
        """`chains`: jobs at once in each of so many workers."""
        self._jobs = jobs
        self._names = [name_of(job) for job in jobs]
        self._chains = chains
        self._meter = meter
        self._losses = losses
        self._watch = watch
        self._waiting = deque(range(len(jobs)))
        self._suspects: deque[int] = deque()
        """Those that may have crashed a worker; each runs alone until it has settled a unit, or it
        would take others with it again."""
        self._under_way: dict[str, set[int]] = {}
        self._absent: set[str] = set()
        """Workers for which there is no room yet: no job waits for them."""
        self._left = len(jobs)
        self._outcomes: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        self._changed = Condition()

    def outcomes(self) -> Iterator[Outcome | None]:
        """What each job left, as it comes; None every few seconds, however many come."""
        look = time.monotonic() + LOOK_S
        while self._goes_on():
            try:
                found = self._outcomes.get(timeout=max(0.0, look - time.monotonic()))
            except Empty:
                found = None
            if isinstance(found, BaseException):
                raise found
            if found is not None:
                yield found
            if time.monotonic() >= look:
                yield None
                look = time.monotonic() + LOOK_S

    def join(self, name: str) -> None:
        """A worker joins, before any of those that join with it is served."""
        self._under_way[name] = set()

    def serve(self, name: str, hand: Hand, work: Work, setting: Setting) -> None:
        """Speak with a worker until no job is left."""
        try:
            hand.begin(work, setting)
            while (orders := self._orders(name, hand)) is not None:
                self._hear(name, hand.exchange(orders))
        except BaseException as error:  # it ends the stage, in the thread that waits for outcomes
            self._outcomes.put(error)

    @property
    def workers(self) -> int:
        """Workers that have joined."""
        return len(self._under_way)

    @property
    def waiting(self) -> int:
        """Jobs that wait for a worker."""
        return len(self._waiting) + len(self._suspects)

    def end(self) -> None:
        """Give out nothing more."""
        with self._changed:
            self._left = 0
            self._changed.notify_all()

    def _goes_on(self) -> bool:
        with self._changed:  # the last job is settled and its outcome there, or neither
            return self._left > 0 or not self._outcomes.empty()

    def _wait_for(self, name: str, hand: Hand) -> None:
        """Wait until a worker takes orders; no longer than there is something to do."""
        while self._left > 0 and not hand.is_there():
            with self._changed:
                self._absent.add(name)
                self._changed.notify_all()
        with self._changed:
            self._absent.discard(name)

    def _orders(self, name: str, hand: Hand) -> Orders | None:
        """What a worker is to do next, as soon as there is something; None when all is done."""
        self._wait_for(name, hand)
        with self._changed:
            mine = self._under_way[name]
            jobs = self._chosen(mine)
            while self._left > 0 and not mine and not jobs:
                self._changed.wait()
                jobs = self._chosen(mine)
            if self._left <= 0:
                return None
            mine.update(jobs)
            given = tuple((number, self._jobs[number]) for number in jobs)
            return Orders(given, self._meter.grant(name))

    def _chosen(self, mine: set[int]) -> list[int]:
        """Jobs for a worker that has these under way."""
        if self._suspects and not mine:
            return [self._suspects.popleft()]
        if any(self._losses.suspects(self._names[number]) for number in mine):
            return []
        under_way = sum(map(len, self._under_way.values()))
        here = len(self._under_way) - len(self._absent)
        share = -(-(len(self._waiting) + under_way) // here)
        room = max(0, min(self._chains(here), share) - len(mine))
        return [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]

    def _hear(self, name: str, said: Report | Loss) -> None:
        with self._changed:
            if isinstance(said, Loss):
                if self._left > 0:  # else the engine ends its workers
                    self._lost(name, said)
            else:
                self._meter.settle(name, said.claim)
                for number, key, became in said.noted:
                    self._losses.progress(self._names[number])
                    self._watch(key, became)
                for number, outcome in said.ended:
                    self._under_way[name].discard(number)
                    self._settle(outcome)
            self._changed.notify_all()

    def _lost(self, name: str, loss: Loss) -> None:
        """A worker is lost: what it had under way is done again, as far as that makes sense."""
        self._meter.leave(name)
        lost, self._under_way[name] = sorted(self._under_way[name]), set()
        outcomes = self._losses.settle([self._names[number] for number in lost], loss)
        for number, outcome in zip(lost, outcomes, strict=True):
            if outcome is not None:
                self._settle(outcome)
            elif self._losses.suspects(self._names[number]):
                self._suspects.append(number)
            else:
                self._waiting.appendleft(number)

    def _settle(self, outcome: Outcome) -> None:
        self._left -= 1
        self._outcomes.put(outcome)
        if outcome.stop is not None:
            # What is under way ends by itself: its next call is refused.
            self._meter.halt(str(outcome.stop))
            self._left -= self.waiting
            self._waiting.clear()
            self._suspects.clear()
