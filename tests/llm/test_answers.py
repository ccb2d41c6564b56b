"""Every kind of answer of a model server, on both ways to one: what it is, and that it is counted as the server counts."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from cbt_ray.errors import Infrastructure, InputError, ModelFailure
from cbt_ray.llm import litellm_api, server
from cbt_ray.llm.caller import Caller
from cbt_ray.llm.meter import LocalMeter, Meter
from cbt_ray.llm.request import Finish, LanguageModel, Reply
from cbt_ray.study.endpoint import LiteLLMEndpoint
from cbt_ray.study.study import Budget
from cbt_ray.therapy.answer import read_text

from .answers import REPLIES, SECRET, Expected, Said, Useless, User, World
from .conftest import ask
from .faulty_server import FaultyServer

NOW = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
WAYS: dict[str, type[Any]] = {"http": server.ServerModel, "litellm": litellm_api.LiteLLMModel}


def caller(to: FaultyServer, way: str, **fields: Any) -> Caller:
    block = LiteLLMEndpoint(
        kind="litellm", model="openai/m", api_base=to.url, timeout_s=fields.pop("timeout_s", 0.4), **{"retries": 1, **fields}
    )
    model: LanguageModel = WAYS[way]("big", block, now=lambda: NOW)
    meter = LocalMeter(Meter({"big": block}, Budget()))
    return Caller(model, "big", block, meter, sleep=lambda _: None, rng=random.Random(1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REPLIES)
def test_an_answer_is_what_it_is(name: str, way: str) -> None:
    behaviour, expected = REPLIES[name]
    patient = {"timeout_s": 20.0} if name == "bomb" else {}
    with FaultyServer(lambda request, number: behaviour) as to:
        it = caller(to, way, **patient)
        outcome = found(it)
        assert to.calls == it.usage.calls == (2 if isinstance(expected, World) else 1)
    check(outcome, expected)
    assert it.usage.tokens >= 0


def found(it: Caller) -> Reply | str | Exception:
    """A reply of use, or the reason or error that it is none."""
    try:
        reply = it(ask())
        read_text(reply)
    except (ModelFailure, Infrastructure, InputError) as error:
        return error
    return reply


def check(outcome: Any, expected: Expected) -> None:
    match expected:
        case Said(text, reasoning, at_limit):
            assert isinstance(outcome, Reply), outcome
            assert (outcome.text, outcome.reasoning) == (text, reasoning)
            assert outcome.finish is (Finish.LENGTH if at_limit else Finish.STOP)
            assert SECRET not in outcome.text
        case Useless(reason):
            assert isinstance(outcome, ModelFailure), outcome
            assert outcome.reason == reason
        case World(kind, pause):
            assert isinstance(outcome, Infrastructure), outcome
            assert (outcome.kind, outcome.retry_after) == (kind, pause)
        case User(field, says):
            assert isinstance(outcome, InputError), outcome
            assert str(outcome).startswith(f"endpoints.big.{field}: expected ")
            assert says in str(outcome)
    assert "\n" not in str(outcome)
