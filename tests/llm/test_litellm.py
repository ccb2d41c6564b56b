"""litellm against a server that misbehaves by script: every fault is told apart, and nobody calls
behind the caller's back.
"""

from __future__ import annotations

import json
import logging
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cbt_ray.errors import CbtRayError, Infrastructure, InputError, KeyRefused, ModelFailure
from cbt_ray.llm.caller import Caller
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.litellm_api import LiteLLMModel
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Finish, Request
from cbt_ray.study.endpoint import LiteLLMEndpoint
from cbt_ray.study.study import Budget

from . import faulty_server as server_of
from .conftest import ask, turns
from .faulty_server import Behaviour, FaultyServer, Script

KEY = "sk-this-key-must-never-be-seen-0123456789"


def endpoint(server: FaultyServer, **fields: Any) -> LiteLLMEndpoint:
    return LiteLLMEndpoint(
        kind="litellm", model="openai/scripted", api_base=server.url, **{"timeout_s": 60, **fields}
    )


def model(server: FaultyServer, **fields: Any) -> LiteLLMModel:
    return LiteLLMModel("big", endpoint(server, **fields))


def caller(server: FaultyServer, sleep: Callable[[float], None], **fields: Any) -> Caller:
    block = endpoint(server, **fields)
    return Caller(
        LiteLLMModel("big", block),
        "big",
        block,
        gate_of(Meter({"big": block}, Budget())),
        sleep=sleep,
        rng=random.Random(1),
    )


def always(behaviour: Behaviour) -> Script:
    return lambda request, number: behaviour


def first(*faults: Behaviour) -> Script:
    """These in turn, then valid answers."""
    return lambda request, number: (
        faults[number - 1] if number <= len(faults) else server_of.scripted_answer(request)
    )


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (server_of.RATE_LIMITED, "rate_limit"),
        (server_of.BROKEN, "server"),
        (Behaviour(status=503), "server"),
        (Behaviour(status=529), "server"),
        (server_of.SLOW, "timeout"),
        (Behaviour(status=408), "timeout"),
        (server_of.CUT, "connection"),
        (server_of.MALFORMED, "malformed"),
        (server_of.NO_CHOICES, "malformed"),
        (Behaviour(raw=b""), "malformed"),
        (Behaviour(raw=b"null"), "malformed"),
    ],
)
def test_a_fault_of_the_world_is_retried_and_then_leaves_the_unit_owed(
    behaviour: Behaviour, kind: str
) -> None:
    with FaultyServer(always(behaviour)) as server:
        it = caller(server, lambda _: None, retries=1, timeout_s=1 if behaviour.silent else 60)
        with pytest.raises(Infrastructure) as fault:
            it(ask())
        assert fault.value.kind == kind
        assert server.calls == it.usage.calls == 2
        assert it.usage.faults == {kind: 2}
        assert "\n" not in str(fault.value)
        assert pickle.loads(pickle.dumps(fault.value)).kind == kind  # noqa: S301


def test_a_server_that_is_down_is_a_connection_fault() -> None:
    with FaultyServer(always(server_of.EMPTY)) as server:
        it = model(server)
    with pytest.raises(Infrastructure) as fault:
        it.complete(ask())
    assert fault.value.kind == "connection"


def test_retry_after_is_honoured() -> None:
    slept: list[float] = []
    with FaultyServer(first(Behaviour(status=429, headers={"Retry-After": "7"}))) as server:
        assert caller(server, slept.append)(ask()).finish is Finish.STOP
        assert slept == [7.0]
        assert server.calls == 2


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", ""])
def test_a_retry_after_that_is_no_number_is_backed_off_from(date: str) -> None:
    slept: list[float] = []
    with FaultyServer(first(Behaviour(status=429, headers={"Retry-After": date}))) as server:
        caller(server, slept.append)(ask())
    assert 0 < slept[0] <= 0.5


@pytest.mark.parametrize(
    ("behaviour", "finish", "text"),
    [
        (server_of.EMPTY, Finish.STOP, ""),
        (server_of.REFUSAL, Finish.REFUSED, ""),
        (Behaviour(text=None, finish_reason="content_filter"), Finish.REFUSED, ""),
        (
            Behaviour(status=400, error={"message": "no", "code": "content_policy_violation"}),
            Finish.REFUSED,
            "",
        ),
        (server_of.TRUNCATED, Finish.LENGTH, server_of.TRUNCATED.text),
    ],
)
def test_a_useless_answer_is_an_answer(behaviour: Behaviour, finish: Finish, text: str) -> None:
    with FaultyServer(always(behaviour)) as server:
        it = caller(server, lambda _: None)
        reply = it(ask())
        assert (reply.finish, reply.text) == (finish, text)
        assert server.calls == it.usage.calls == 1
        assert it.usage.faults == {}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, KeyRefused),
        (403, KeyRefused),
        (400, InputError),
        (402, InputError),
        (404, InputError),
        (422, InputError),
    ],
)
def test_what_the_user_must_mend_is_not_retried(status: int, kind: type[CbtRayError]) -> None:
    with FaultyServer(always(Behaviour(status=status))) as server:
        it = caller(server, lambda _: None)
        with pytest.raises(kind, match=r"^endpoints\.big\.") as error:
            it(ask())
        assert error.value.exit_code == 2
        assert server.calls == it.usage.calls == 1


def test_a_prompt_too_long_is_the_models_failure() -> None:
    said = {"message": "too long", "code": "context_length_exceeded"}
    with (
        FaultyServer(always(Behaviour(status=400, error=said))) as server,
        pytest.raises(ModelFailure) as failure,
    ):
        model(server).complete(ask())
    assert failure.value.reason == "context_full"


def test_the_key_is_sent_and_never_seen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    echo = Behaviour(status=401, error={"message": f"Incorrect API key provided: {KEY}"})
    with FaultyServer(always(echo)) as server:
        with pytest.raises(KeyRefused) as refused:
            model(server, api_key_env="TEST_KEY").complete(ask())
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None, (
        "a traceback would show what litellm said"
    )
    ours = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith(("cbt_ray", "LiteLLM"))
    ]
    assert all(KEY not in line for line in ours)


def test_a_missing_key_is_named_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    with FaultyServer(always(server_of.EMPTY)) as server:
        with pytest.raises(InputError, match=r"endpoints\.big\.api_key_env: .*TEST_KEY"):
            model(server, api_key_env="TEST_KEY")
        assert server.calls == 0


def test_another_providers_key_is_not_sent_to_a_server_of_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultyServer(always(server_of.EMPTY)) as server:
        model(server).complete(ask())
        assert KEY not in json.dumps(server.headers)


def test_sampling_seed_and_schema_reach_the_server() -> None:
    schema = turns(2, minLength=5, maxLength=50)
    request: Request = ask(
        seed=42,
        schema=schema,
        temperature=0.3,
        top_p=0.8,
        max_tokens=77,
        min_p=0.1,
        repeat_penalty=1.2,
    )
    with FaultyServer(first()) as server:
        reply = model(server).complete(request)
        sent = server.requests[0]
    assert (sent["seed"], sent["temperature"], sent["top_p"], sent["max_tokens"]) == (
        42,
        0.3,
        0.8,
        77,
    )
    assert (sent["min_p"], sent["repeat_penalty"], sent["repetition_penalty"]) == (0.1, 1.2, 1.2)
    assert sent["response_format"]["json_schema"]["schema"] == schema
    assert list(json.loads(reply.text)) == ["turn_1", "turn_2"]
    assert reply.model == "scripted-as-served"
    assert (reply.prompt_tokens, reply.reply_tokens) == (3, len(reply.text.split()))


@pytest.mark.parametrize(
    ("structured", "sent_as"),
    [("json_object", {"type": "json_object", "schema": turns(1)}), ("none", None)],
)
def test_below_json_schema_the_schema_stands_in_the_prompt(
    structured: str, sent_as: object
) -> None:
    schema = turns(1)
    with FaultyServer(always(Behaviour(text="{}"))) as server:
        model(server, structured=structured).complete(ask("Go.", schema=schema))
        sent = server.requests[0]
    assert sent.get("response_format") == sent_as
    assert sent["messages"][-1]["content"].startswith("Go.\n")
    assert json.dumps(schema) in sent["messages"][-1]["content"]
    assert "min_p" not in sent


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "none"])
def test_a_therapist_is_never_told_the_schema_in_words(structured: str) -> None:
    asked = replace(ask("Go.", schema=turns(1)), told=False)
    with FaultyServer(always(Behaviour(text="{}"))) as server:
        model(server, structured=structured).complete(asked)
        sent = server.requests[0]
    assert sent["messages"][-1]["content"] == "Go."
    assert ("response_format" in sent) is (structured != "none")


def test_cost_is_the_study_files_price() -> None:
    with FaultyServer(always(Behaviour(text="two words"))) as server:
        assert model(server).complete(ask("one two three")).cost is None
        reply = model(server, price=(1.0, 10.0)).complete(ask("one two three"))
    assert reply.cost == pytest.approx((3 * 1 + 2 * 10) / 1e6)


def test_tokens_are_estimated_where_the_server_reports_none() -> None:
    with FaultyServer(always(Behaviour(text="x" * 41, usage=False))) as server:
        reply = model(server).complete(ask("y" * 80))
    assert (reply.prompt_tokens, reply.reply_tokens) == (20, 11)


def test_a_fifth_of_faults_and_the_counts_agree() -> None:
    slept: list[float] = []
    with FaultyServer(server_of.every(5)) as server:
        it = caller(server, slept.append)
        replies = [it(ask(seed=seed, schema=turns(2))) for seed in range(60)]
        assert server.calls == it.usage.calls > 60
    useless = [reply for reply in replies if reply.finish is not Finish.STOP or not reply.text]
    assert set(it.usage.faults) == {"rate_limit", "server", "connection", "malformed"}
    assert (
        len(useless)
        == sum(
            b in (server_of.EMPTY, server_of.REFUSAL, server_of.TRUNCATED)
            for b in server.behaviours
        )
        > 0
    )
