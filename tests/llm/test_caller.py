"""Retries, waiting and counting, without time passing."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from cbt_ray.errors import BudgetReached, Infrastructure, InputError, KeyRefused, ModelFailure
from cbt_ray.llm.caller import PATIENCE_S, Caller
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Finish, Reply, Request, Usage
from cbt_ray.study.endpoint import LiteLLMEndpoint, LlamaCppEndpoint
from cbt_ray.study.study import Budget

from .conftest import ask

GOOD = Reply("yes", Finish.STOP, 10, 2, "m", 0.25)


class Answers:
    """A model that gives these answers in turn, or raises them."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self.answers = list(answers)
        self.calls = 0

    def complete(self, request: Request) -> Reply:
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def caller(
    model: Answers,
    slept: list[float],
    *,
    retries: int = 3,
    budget: Budget | None = None,
    **limits: Any,
) -> Caller:
    endpoint = LiteLLMEndpoint(kind="litellm", model="openai/x", retries=retries, **limits)
    gate = gate_of(Meter({"big": endpoint}, budget or Budget()))
    return Caller(model, "big", endpoint, gate, sleep=slept.append, rng=random.Random(1))


def test_a_fault_is_retried_and_every_attempt_counts() -> None:
    model, slept = (
        Answers(Infrastructure("x", "server"), Infrastructure("y", "timeout"), GOOD),
        list[float](),
    )
    it = caller(model, slept)
    assert it(ask()) == GOOD
    assert (it.usage.calls, it.usage.tokens, it.usage.cost) == (3, 12, 0.25)
    assert it.usage.faults == {"server": 1, "timeout": 1}
    assert len(slept) == 2
    assert slept[0] <= 0.5 < 2 * slept[1]


def test_what_a_call_cost_is_not_known_without_a_price() -> None:
    free = replace(GOOD, cost=None)
    it = caller(Answers(free, GOOD, replace(GOOD, cost=0.0)), [])
    it(ask())
    assert str(it.usage) == "1 call, 12 tokens, of unknown cost"
    it(ask())
    it(ask())
    assert (it.usage.unpriced, str(it.usage)) == (1, "3 calls, 36 tokens, at least $0.25")
    assert Usage.from_json(it.usage.to_json()) == it.usage
    assert str(Usage(1, 1, 0, 1234.5)) == "1 call, 1 token, $1,234.50"


def test_retry_after_is_honoured() -> None:
    slept: list[float] = []
    caller(Answers(Infrastructure("x", "rate_limit", 17.0), GOOD), slept)(ask())
    assert slept == [17.0]


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    slept: list[float] = []
    with pytest.raises(Infrastructure):
        caller(Answers(Infrastructure("x", "rate_limit", PATIENCE_S + 1)), slept)(ask())
    assert slept == []


def test_retries_end() -> None:
    model = Answers(*(Infrastructure("x", "connection") for _ in range(3)))
    it = caller(model, [], retries=2)
    with pytest.raises(Infrastructure):
        it(ask())
    assert model.calls == it.usage.calls == 3
    assert it.usage.faults == {"connection": 3}


@pytest.mark.parametrize("error", [KeyRefused("k"), InputError("i"), ModelFailure("context_full")])
def test_what_no_retry_mends_passes_through_and_counts(error: Exception) -> None:
    it = caller(Answers(error), [])
    with pytest.raises(type(error)):
        it(ask())
    assert it.usage.calls == 1
    assert it.take_usage().calls == 1
    assert it.usage == Usage()


def test_a_model_in_this_process_is_not_retried() -> None:
    endpoint = LlamaCppEndpoint(kind="llama_cpp", gguf="x.gguf")
    it = Caller(
        Answers(Infrastructure("x")),
        "small",
        endpoint,
        gate_of(Meter({"small": endpoint}, Budget())),
    )
    with pytest.raises(Infrastructure):
        it(ask())


def test_the_permit_comes_back_whatever_happens() -> None:
    it = caller(Answers(ValueError("a bug"), GOOD), [], max_concurrency=1)
    with pytest.raises(ValueError, match="a bug"):
        it(ask())
    assert it(ask()) == GOOD


def test_an_exhausted_budget_sends_nothing() -> None:
    model = Answers(GOOD, GOOD)
    it = caller(model, [], budget=Budget(calls=1))
    it(ask())
    with pytest.raises(BudgetReached):
        it(ask())
    assert model.calls == it.usage.calls == 1
