"""Limits and budget, with a clock that the test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cbt_ray.errors import BudgetReached
from cbt_ray.llm.meter import MARGIN_S, LocalMeter, Meter, Permit
from cbt_ray.llm.ray_meter import actor
from cbt_ray.llm.request import Usage
from cbt_ray.study.endpoint import ScriptedEndpoint
from cbt_ray.study.study import Budget
from cbt_ray.work import ray_runtime


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def meter(
    clock: Clock, budget: Budget | None = None, spent: Usage | None = None, **limits: Any
) -> Meter:
    endpoint = ScriptedEndpoint(kind="scripted", **limits)
    return Meter({"small": endpoint}, budget or Budget(), spent=spent, clock=clock)


def go(meter: Meter, tokens: int = 0) -> Permit:
    permit = meter.acquire("small", tokens)
    assert isinstance(permit, Permit)
    return permit


def wait(meter: Meter, tokens: int = 0) -> float:
    seconds = meter.acquire("small", tokens)
    assert isinstance(seconds, float)
    return seconds


def test_concurrency_waits_for_a_release() -> None:
    it = meter(Clock(), max_concurrency=2)
    first = go(it)
    go(it)
    assert wait(it) > 0
    it.release(first, Usage(calls=1))
    go(it)


def test_a_killed_workers_slot_comes_back() -> None:
    clock = Clock()
    it = meter(clock, max_concurrency=1)
    lost = go(it)
    clock.now += MARGIN_S - 1
    assert wait(it) > 0
    clock.now += 1
    go(it)
    it.release(
        lost, Usage(calls=1, prompt_tokens=7)
    )  # it was alive after all: its cost counts, its call counts once
    assert (it.totals().calls, it.totals().prompt_tokens) == (2, 7)
    assert wait(it) > 0, "a late release frees no slot but its own"


def test_requests_of_a_minute_slide() -> None:
    clock = Clock()
    it = meter(clock, requests_per_minute=2)
    go(it)
    clock.now += 20
    go(it)
    assert wait(it) == pytest.approx(40)
    clock.now += 40
    go(it)
    assert wait(it) == pytest.approx(20)


def test_tokens_of_a_minute_count_the_estimate_then_the_real_number() -> None:
    clock = Clock()
    it = meter(clock, tokens_per_minute=100)
    first = go(it, 80)
    assert wait(it, 30) == pytest.approx(60)
    it.release(first, Usage(calls=1, prompt_tokens=10, reply_tokens=10))
    go(it, 80)
    clock.now += 10
    assert wait(it, 30) == pytest.approx(50)


def test_tokens_wait_for_as_many_calls_as_needed() -> None:
    clock = Clock()
    it = meter(clock, tokens_per_minute=100)
    for _ in range(4):
        go(it, 25)
        clock.now += 5
    assert wait(it, 40) == pytest.approx(45), "the first two must have left the window"


def test_a_call_larger_than_the_limit_goes_alone() -> None:
    clock = Clock()
    it = meter(clock, tokens_per_minute=100)
    go(it, 500)
    assert wait(it, 500) == pytest.approx(60)
    clock.now += 60
    go(it, 500)


@pytest.mark.parametrize(
    ("budget", "spent", "field"),
    [
        (Budget(calls=2), Usage(calls=2), "budget.calls: 2 reached"),
        (Budget(tokens=50), Usage(prompt_tokens=30, reply_tokens=20), "budget.tokens: 50 reached"),
        (Budget(cost=1.5), Usage(cost=1.6), "budget.cost: 1.5 reached"),
    ],
)
def test_a_budget_spent_before_is_spent(budget: Budget, spent: Usage, field: str) -> None:
    with pytest.raises(BudgetReached, match=field) as reached:
        meter(Clock(), budget, spent).acquire("small", 1)
    assert reached.value.exit_code == 2
    assert "\n" not in str(reached.value)


def test_calls_in_flight_are_reserved() -> None:
    it = meter(Clock(), Budget(calls=2))
    go(it)
    go(it)
    with pytest.raises(BudgetReached):
        it.acquire("small", 1)


def spend(meter: LocalMeter, sent: list[int]) -> None:
    try:
        while True:
            permit = meter.acquire("small", 10)
            assert isinstance(permit, Permit)
            sent.append(1)
            time.sleep(0.0005)
            meter.release(permit, Usage(calls=1, prompt_tokens=5, reply_tokens=5))
    except BudgetReached:
        return


@pytest.mark.parametrize(("budget", "most"), [(Budget(calls=100), 100), (Budget(tokens=1000), 107)])
def test_eight_threads_never_overshoot(budget: Budget, most: int) -> None:
    it = LocalMeter(Meter({"small": ScriptedEndpoint(kind="scripted")}, budget))
    sent: list[int] = []
    threads = [threading.Thread(target=spend, args=(it, sent)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 100 <= len(sent) <= most
    assert it.totals().calls == len(sent)


@pytest.fixture
def ray_here() -> Iterator[None]:
    ray = ray_runtime.begin(None, num_cpus=1, include_dashboard=False)
    yield
    ray.stop()


@pytest.mark.ray
def test_the_actor_meters_processes(ray_here: None) -> None:
    endpoints = {"small": ScriptedEndpoint(kind="scripted", max_concurrency=1)}
    it = actor("meter-test", endpoints, Budget(calls=2), spent=Usage(cost=0.5))
    same = actor("meter-test", endpoints, Budget(calls=2))
    permit = it.acquire("small", 10)
    assert isinstance(permit, Permit)
    assert isinstance(same.acquire("small", 10), float), "one actor behind both handles"
    same.release(permit, Usage(calls=1, prompt_tokens=3, faults={"server": 1}))
    assert isinstance(it.acquire("small", 10), Permit)
    with pytest.raises(BudgetReached, match=r"budget\.calls"):
        it.acquire("small", 10)
    assert it.totals() == Usage(calls=2, prompt_tokens=3, cost=0.5, faults={"server": 1})


def test_a_call_that_was_never_sent_is_given_back() -> None:
    meter = Meter({"big": ScriptedEndpoint(kind="scripted")}, Budget(calls=1))
    permit = meter.acquire("big", 10)
    assert isinstance(permit, Permit)
    meter.release(permit, Usage(calls=0, faults={"connection": 1}))
    assert meter.totals().calls == 0
    assert isinstance(meter.acquire("big", 10), Permit)
