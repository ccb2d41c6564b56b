"""A shift heard by the thread that waits for its outcomes."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

import pytest

from cbt_ray.llm.lease import Claim
from cbt_ray.llm.meter import Meter
from cbt_ray.study.study import Budget
from cbt_ray.work import shift
from cbt_ray.work.job import Job, Orders, Outcome, Report, Work
from cbt_ray.work.loss import Losses
from cbt_ray.work.progress import Silent
from cbt_ray.work.shift import Shift
from cbt_ray.work.workplace import silent
from cbt_ray.work.workshop import Setting


def shift_of(jobs: int, at_once: int) -> Shift:
    meter, losses = Meter({}, Budget()), Losses(Silent().say)
    numbered = [(number,) for number in range(jobs)]
    return Shift(numbered, lambda workers: at_once // workers, meter, losses, silent)


def begun(jobs: int) -> Shift:
    """A shift with one worker that has all jobs under way."""
    it = shift_of(jobs, jobs)
    it.join("one")
    it._orders("one", Here())
    return it


def ended(it: Shift, number: int) -> None:
    it._hear("one", Report((), ((number, Outcome()),), Claim()))


def test_it_is_asked_for_more_workers_however_fast_jobs_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shift, "LOOK_S", 0.0)
    it = begun(3)
    for number in range(3):
        ended(it, number)
    assert list(it.outcomes()).count(None) == 3


class Late(SimpleQueue[Outcome | BaseException]):
    """Says that something is on its way before it is there."""

    def __init__(self) -> None:
        self.coming = threading.Event()

    def put(self, item: Outcome | BaseException, *_: object) -> None:
        self.coming.set()
        time.sleep(0.2)
        super().put(item)


def test_the_last_outcome_is_never_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    it, late = begun(1), Late()
    monkeypatch.setattr(it, "_outcomes", late)
    hearing = threading.Thread(target=ended, args=(it, 0))
    hearing.start()
    late.coming.wait()
    assert list(it.outcomes()) == [Outcome()]
    hearing.join()


class Away:
    """A worker for which there is no room."""

    def begin(self, work: Work, setting: Setting) -> None:
        """Nobody hears it."""

    def is_there(self) -> bool:
        time.sleep(0.01)
        return False

    def exchange(self, orders: Orders) -> Report:
        raise AssertionError("orders for nobody")


class Here(Away):
    """A worker that ends each job at once."""

    def is_there(self) -> bool:
        return True

    def exchange(self, orders: Orders) -> Report:
        return Report((), tuple((number, Outcome()) for number, _ in orders.jobs), Claim())


def test_a_shift_that_has_ended_asks_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    it = begun(1)
    it.end()
    monkeypatch.setattr(Here, "is_there", lambda _self: pytest.fail("a worker was begun"))
    assert it._orders("one", Here()) is None


def test_no_job_waits_for_a_worker_that_has_no_room() -> None:
    it = shift_of(9, 9)
    hands = {"one": Away(), "two": Here()}
    for name in hands:
        it.join(name)
    arguments = [(name, hand, None, None) for name, hand in hands.items()]
    threads = [threading.Thread(target=it.serve, args=one) for one in arguments]
    for thread in threads:
        thread.start()
    assert list(it.outcomes()) == [Outcome()] * 9
    for thread in threads:
        thread.join()


def test_more_workers_have_no_more_jobs_at_once() -> None:
    it, hand = shift_of(100, 16), Here()
    it.join("one")
    assert len(given(it, "one", hand)) == 16
    it.join("two")
    for number in range(9):
        ended(it, number)
    assert [len(given(it, name, hand)) for name in ("one", "two")] == [1, 8]


def given(it: Shift, name: str, hand: Here) -> tuple[tuple[int, Job], ...]:
    orders = it._orders(name, hand)
    assert orders is not None
    return orders.jobs
