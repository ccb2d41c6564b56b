"""Every kind of answer of a model server, on both ways to one: what it is, and that it is counted
as the server counts.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cbt_ray.errors import Infrastructure, InputError, ModelFailure
from cbt_ray.llm import connection, litellm_api, server
from cbt_ray.llm.caller import Caller
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Finish, LanguageModel, Message, Reply, Request
from cbt_ray.study.endpoint import LiteLLMEndpoint, Sampling
from cbt_ray.study.study import Budget
from cbt_ray.therapy.answer import read_text
from cbt_ray.work.determinants import said

from .answers import OTHER_FORMS, REPLIES, SECRET, Expected, Said, Useless, User, World
from .conftest import ask
from .faulty_server import Behaviour, FaultyServer

KEY = "sk-this-key-must-never-be-seen-0123456789"
NOW = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
SLOW = {"slow", "drips_headers", "drips_body", "bomb"}
HTTP, LITELLM = "http", "litellm"
WAYS: dict[str, type[Any]] = {HTTP: server.ServerModel, LITELLM: litellm_api.LiteLLMModel}


def caller(to: FaultyServer, way: str, **fields: Any) -> Caller:
    given = {"model": "openai/m", "timeout_s": 60, "retries": 1, **fields}
    block = LiteLLMEndpoint(kind="litellm", api_base=to.url, **given)
    model: LanguageModel = WAYS[way]("big", block, now=lambda: NOW)
    gate = gate_of(Meter({"big": block}, Budget()))
    return Caller(model, "big", block, gate, sleep=lambda _: None, rng=random.Random(1))


@pytest.mark.parametrize("way", [HTTP, pytest.param(LITELLM, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in REPLIES],
)
def test_an_answer_is_what_it_is(name: str, way: str) -> None:
    behaviour, expected = REPLIES[name]
    timed = {"timeout_s": 1.0} if behaviour.silent or behaviour.drips else {}
    with FaultyServer(lambda request, number: behaviour) as to:
        it = caller(to, way, **timed)
        outcome = found(it)
        assert to.calls == it.usage.calls == (2 if isinstance(expected, World) else 1)
    check(outcome, expected)
    assert it.usage.tokens >= 0


@pytest.mark.parametrize(("model", "behaviour", "expected"), OTHER_FORMS)
def test_an_answer_in_a_providers_form_is_what_it_is(
    model: str, behaviour: Behaviour, expected: Expected
) -> None:
    with FaultyServer(lambda request, number: behaviour) as to:
        it = caller(to, "litellm", model=model, structured="none")
        outcome = found(it)
        assert to.calls == it.usage.calls == (2 if isinstance(expected, World) else 1)
    check(outcome, expected)


@pytest.mark.parametrize("way", WAYS)
def test_counts_agree_where_a_third_of_the_calls_meets_a_fault(way: str) -> None:
    """Every kind of fault of the world, each on a call of its own, between good answers."""
    faults = [one for one, is_ in REPLIES.values() if isinstance(is_, World)]
    quick = [
        one for one in faults if not one.drips and not one.silent and len(one.raw or b"") < 9999
    ]
    good, bad = REPLIES["stop"][0], iter(quick)
    with FaultyServer(lambda request, number: next(bad, good) if number % 3 == 0 else good) as to:
        it = caller(to, way, retries=3)
        replies = [it(ask(seed=seed)) for seed in range(2 * len(quick) + 1)]
        assert to.calls == it.usage.calls == 3 * len(quick) + 1
    assert sum(it.usage.faults.values()) == len(quick)
    assert {reply.text for reply in replies} == {"All is well."}


@pytest.mark.parametrize("way", WAYS)
def test_calls_share_a_connection(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 3600.0)
    with FaultyServer(lambda request, number: REPLIES["stop"][0]) as to:
        it = caller(to, way)
        assert {it(ask(seed=seed)).text for seed in range(3)} == {"All is well."}
        assert (to.calls, len(to.clients)) == (3, 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_reaches_nobody_is_no_call(way: str) -> None:
    with FaultyServer(lambda request, number: REPLIES["stop"][0]) as to:
        it = caller(to, way)
    with pytest.raises(Infrastructure) as fault:
        it(ask())
    assert fault.value.kind == "connection"
    assert (it.usage.calls, it.usage.faults) == (0, {"connection": 2})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["unauthorized", "no_such_model", "filter_openai", "bad_gateway", "redirect"]
)
def test_no_error_holds_the_key(monkeypatch: pytest.MonkeyPatch, way: str, name: str) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    told = {"error": {"message": f"Bearer {KEY} is not welcome"}, "key": KEY}
    behaviour = replace(REPLIES[name][0], raw=json.dumps(told).encode())
    behaviour = replace(behaviour, headers={"Location": f"http://elsewhere.example/?key={KEY}"})
    with FaultyServer(lambda request, number: behaviour) as to:
        outcome = found(caller(to, way, api_key_env="THE_KEY"))
        assert to.headers[0]["Authorization"] == f"Bearer {KEY}"
    error: BaseException | None = outcome if isinstance(outcome, BaseException) else None
    assert KEY not in repr(outcome)
    while error is not None:
        assert KEY not in f"{error!r}{vars(error)}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("way", WAYS)
def test_counts_that_are_none_are_estimated_and_no_budget_falls(way: str) -> None:
    with FaultyServer(lambda request, number: REPLIES["negative_usage"][0]) as to:
        it = caller(to, way, price=(1.0, 1.0))
        reply = it(ask("y" * 80))
    assert (reply.prompt_tokens, reply.reply_tokens) == (20, 4)
    assert it.usage.cost == pytest.approx(24e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_template_without_a_system_message_gets_none(way: str) -> None:
    messages = (
        Message("system", "Be kind."),
        Message("user", "Hello."),
        Message("assistant", "Hi."),
        Message("user", "Go."),
    )
    with FaultyServer(lambda request, number: REPLIES["stop"][0]) as to:
        caller(to, way, system="first_user")(Request(messages, Sampling(), 1))
        sent = to.requests[0]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[0]["content"] == "Be kind.\n\nHello."


def test_how_a_system_prompt_is_sent_is_part_of_the_identity_only_where_it_is_set() -> None:
    plain = LiteLLMEndpoint(kind="litellm", model="openai/m")
    assert said(plain) == {"kind": "litellm", "model": "openai/m"}
    other = LiteLLMEndpoint(kind="litellm", model="openai/m", system="first_user")
    assert said(other) == {**said(plain), "system": "first_user"}


def test_a_key_that_no_header_can_hold_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", f"{KEY}\nX-Other: 1")
    with FaultyServer(lambda request, number: REPLIES["stop"][0]) as to:
        with pytest.raises(InputError, match=r"endpoints\.big\.api_key_env: .*THE_KEY") as refused:
            caller(to, "http", api_key_env="THE_KEY")
        assert to.calls == 0
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "api_base", "own"),
    [
        ("openai/m", "http://server.example:8000/v1", True),
        ("hosted_vllm/openai/m", "http://server.example/v1", True),
        ("openai/gpt-5", "https://api.openai.com/v1", False),
        ("openai/gpt-5", None, False),
        ("anthropic/m", "http://server.example", False),
    ],
)
def test_who_is_asked_without_litellm(model: str, api_base: str | None, own: bool) -> None:
    endpoint = LiteLLMEndpoint(kind="litellm", model=model, api_base=api_base)
    assert server.is_own_server(endpoint) is own


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
