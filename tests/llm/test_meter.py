"""Limits and budget over several workers, with a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.llm.lease import Claim, Grant, Need
from cbt_ray.llm.meter import WINDOW_S, Meter
from cbt_ray.llm.request import Usage
from cbt_ray.study.endpoint import ScriptedEndpoint
from cbt_ray.study.study import Budget


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def meter(
    clock: Clock | None = None,
    budget: Budget | None = None,
    spent: Usage | None = None,
    **limits: Any,
) -> Meter:
    endpoint = ScriptedEndpoint(kind="scripted", **limits)
    return Meter({"small": endpoint}, budget or Budget(), spent=spent, clock=clock or Clock())


def ask(
    it: Meter,
    *waiting: int,
    worker: str = "a",
    running: int = 0,
    slots: int | None = None,
    left: dict[str, float] | None = None,
    aside: dict[str, float] | None = None,
    used: Usage | None = None,
    ended: dict[int, int] | None = None,
) -> Grant:
    """A claim of a worker with these calls waiting, and what it is granted."""
    wanted = running + len(waiting)
    need = Need(running if slots is None else slots, wanted, running, waiting, ended or {})
    it.settle(worker, Claim(used or Usage(), left or {}, aside or {}, {"small": need}))
    return it.grant(worker)


def test_calls_at_once_are_shared_by_workers() -> None:
    it = meter(max_concurrency=5)
    assert ask(it, 1, 1, 1).slots == {"small": 3}
    assert ask(it, 1, 1, 1, worker="b").slots == {"small": 2}, "no more than what is left"
    assert ask(it, 1, worker="c").slots == {"small": 0}
    ask(it, running=1, slots=1)
    assert ask(it, 1, worker="c").slots == {"small": 1}, "what one gave back"


def test_a_worker_keeps_what_it_had_until_it_says_that_it_does_not() -> None:
    it = meter(max_concurrency=4)
    assert ask(it, 1, 1, 1, 1).slots == {"small": 4}
    assert ask(it, 1, 1, worker="b").slots == {"small": 0}
    assert ask(it, running=4, slots=4).slots == {"small": 2}, "its even share, now that b waits"
    assert ask(it, 1, 1, worker="b").slots == {"small": 0}, "but four may still be under way"
    ask(it, running=3, slots=3)
    assert ask(it, 1, 1, worker="b").slots == {"small": 1}


def test_who_wants_little_leaves_the_rest_to_others() -> None:
    it = meter(max_concurrency=10)
    ask(it, 1, worker="b")
    assert ask(it, *[1] * 20).slots == {"small": 9}


def test_the_slots_of_a_lost_worker_come_back() -> None:
    it = meter(max_concurrency=1)
    ask(it, 1)
    assert ask(it, 1, worker="b").slots == {"small": 0}
    it.leave("a")
    assert ask(it, 1, worker="b").slots == {"small": 1}


def test_requests_of_a_minute_slide_over_all_workers() -> None:
    clock = Clock()
    it = meter(clock, requests_per_minute=2)
    assert len(ask(it, 1).tickets["small"]) == 1
    clock.now += 20
    first = ask(it, 1, 1, worker="b")
    assert len(first.tickets["small"]) == 1
    assert first.again_s == pytest.approx(min(WINDOW_S - 20, first.again_s))
    clock.now += WINDOW_S - 20 - 0.01
    assert ask(it, 1, worker="b").tickets["small"] == ()
    clock.now += 0.02
    assert len(ask(it, 1, 1, worker="b").tickets["small"]) == 1


def test_a_minute_is_never_below_sixty_seconds() -> None:
    assert WINDOW_S > 60, "a call leaves the machine a little after it is allowed"


def test_tokens_of_a_minute_count_the_estimate_then_the_real_number() -> None:
    it = meter(tokens_per_minute=100)
    (first,) = ask(it, 80).tickets["small"]
    assert ask(it, 30).tickets["small"] == ()
    assert len(ask(it, 70, 30, ended={first: 20}).tickets["small"]) == 1


def test_tokens_wait_for_as_many_calls_as_needed() -> None:
    clock = Clock()
    it = meter(clock, tokens_per_minute=100)
    for _ in range(4):
        assert ask(it, 25).tickets["small"]
        clock.now += 5
    clock.now += WINDOW_S - 20
    assert ask(it, 40).tickets["small"] == ()
    clock.now += 5
    assert ask(it, 40).tickets["small"], "the first two have left the window"


def test_a_call_larger_than_the_limit_goes_alone() -> None:
    clock = Clock()
    it = meter(clock, tokens_per_minute=100)
    assert ask(it, 500).tickets["small"]
    assert ask(it, 500).tickets["small"] == ()
    clock.now += WINDOW_S
    assert ask(it, 500).tickets["small"]


def test_no_ticket_waits_for_what_calls_under_way_may_take() -> None:
    spent = Usage(reply_tokens=90)
    it = meter(budget=Budget(tokens=100), spent=spent, requests_per_minute=100)
    kept = {"tokens": 10.0}
    assert ask(it, 5, left=kept, aside={"tokens": 10.0}, running=1).tickets["small"] == ()
    assert ask(it, 5, left=kept, aside={"tokens": 4.0}, running=1).tickets["small"]


def test_tickets_are_for_calls_that_begin_at_once() -> None:
    it = meter(budget=Budget(calls=1), requests_per_minute=100, max_concurrency=2)
    assert len(ask(it, 1, 1, 1, 1).tickets["small"]) == 1, "the budget pays one"
    it = meter(requests_per_minute=100, max_concurrency=2)
    assert len(ask(it, 1, 1, 1, running=1, slots=2).tickets["small"]) == 1, "one slot is free"


@pytest.mark.parametrize(
    ("budget", "spent", "field"),
    [
        (Budget(calls=2), Usage(calls=2), "budget.calls: 2 reached"),
        (Budget(tokens=50), Usage(prompt_tokens=30, reply_tokens=20), "budget.tokens: 50 reached"),
        (Budget(cost=1.5), Usage(cost=1.6), "budget.cost: 1.5 reached"),
    ],
)
def test_a_budget_spent_before_is_spent(budget: Budget, spent: Usage, field: str) -> None:
    refused = ask(meter(budget=budget, spent=spent), 1).refused
    assert refused is not None
    assert refused.startswith(field)
    assert "\n" not in refused


@pytest.mark.parametrize("name", ["calls", "tokens", "cost"])
def test_a_budget_is_leased_once(name: str) -> None:
    it = meter(budget=Budget.model_validate({name: 100}))
    leased = [ask(it, *[40] * 30, worker=str(number)).more[name] for number in range(20)]
    assert sum(leased) <= 100
    assert all(more >= 0 for more in leased)
    assert leased[0] > 0


def test_what_a_worker_gives_back_is_for_others() -> None:
    it = meter(budget=Budget(calls=10))
    assert ask(it, *[1] * 10).more["calls"] == 10
    assert ask(it, 1, worker="b").more["calls"] == 0
    ask(it, used=Usage(calls=4), left={"calls": 0.0})
    assert ask(it, *[1] * 10, worker="b").more["calls"] == 6


def test_the_last_of_a_budget_is_not_kept_from_anyone() -> None:
    it = meter(budget=Budget(tokens=1000), spent=Usage(reply_tokens=999))
    assert ask(it, 50).more["tokens"] == pytest.approx(1.0)


def test_calls_of_a_lost_worker_count_as_sent() -> None:
    it = meter(budget=Budget(calls=4))
    assert ask(it, 1, 1, 1).more["calls"] == 3
    it.leave("a")
    assert it.totals().calls == 3
    assert ask(it, 1, 1, worker="b").more["calls"] == 1


def test_a_call_that_was_never_sent_is_given_back() -> None:
    it = meter(budget=Budget(calls=1))
    ask(it, 1)
    ask(it, used=Usage(calls=1), left={"calls": 0.0})
    assert ask(it, 1, left={"calls": 0.0}).refused
    ask(it, used=Usage(calls=-1, faults={"connection": 1}), left={"calls": 0.0})
    assert ask(it, 1, left={"calls": 0.0}).more["calls"] == 1


def test_halted_refuses_with_the_reason() -> None:
    it = meter()
    it.halt("the key is refused")
    assert ask(it, 1).refused == "the key is refused"
