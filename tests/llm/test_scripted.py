"""The scripted model: valid by schema, the same for the same question, useless as often as it is
told to be.
"""

from __future__ import annotations

import json
import random
import re

import pytest

from cbt_ray.llm.regex_text import matching
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.study.endpoint import ScriptedEndpoint

from .conftest import ask, turns

ROLES = ("therapist", "patient")
PATTERNS = [
    r"^[A-Z][A-Za-z0-9 ,.'?!-]{20,160}[.?!]$",
    r"^Today we will [a-z ,]{20,80}, and then [a-z]+ (one|two) things\.$",
    r"^[^\"\\]{10,40}$",
    r"^\d{3}-\w+$",
    r"^a?b*(cd){2,3}.$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_texts_match_their_pattern_and_differ(pattern: str) -> None:
    texts = [matching(pattern, random.Random(seed)) for seed in range(30)]
    assert all(re.search(pattern, text) for text in texts)
    assert len(set(texts)) > 10


def test_lengths_hold_beside_a_pattern() -> None:
    texts = [
        matching(r"^[A-Z][a-z ]+\.$", random.Random(seed), shortest=10, longest=30)
        for seed in range(30)
    ]
    assert all(10 <= len(text) <= 30 for text in texts)


def test_a_schema_is_followed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "word": {"enum": ["Poor", "Good"]},
            "kind": {"const": "rating"},
            "score": {"type": "integer", "minimum": 1, "maximum": 10},
            "because": {"type": "string", "minLength": 200, "maxLength": 220},
            "list": {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 3},
            "deep": turns(2, pattern=PATTERNS[0]),
            "extra": {"type": "string"},
        },
        "required": ["word", "kind", "score", "because", "list", "deep"],
    }
    for seed in range(20):
        value = json.loads(scripted().complete(ask(seed=seed, schema=schema)).text)
        assert list(value) == schema["required"]
        assert value["word"] in ("Poor", "Good")
        assert value["kind"] == "rating"
        assert 1 <= value["score"] <= 10
        assert 200 <= len(value["because"]) <= 220
        assert [len(text) <= 5 for text in value["list"]] == [True] * 3
        assert all(re.search(PATTERNS[0], text) for text in value["deep"].values())


def scripted(**fields: float) -> ScriptedModel:
    return ScriptedModel(ScriptedEndpoint(kind="scripted", **fields))


def test_the_same_question_has_the_same_answer_and_another_seed_another() -> None:
    assert scripted().complete(ask(seed=1)) == scripted().complete(ask(seed=1))
    assert len({scripted().complete(ask(seed=seed)).text for seed in range(20)}) > 15


def test_some_answers_are_useless() -> None:
    model = scripted(invalid=0.3)
    texts = [model.complete(ask(seed=seed, schema=turns(2))).text for seed in range(300)]
    useless = [text for text in texts if not _parses(text)]
    assert 60 <= len(useless) <= 120
    assert {bool(text) for text in useless} == {True, False}, "some empty, some cut"
    assert texts == [model.complete(ask(seed=seed, schema=turns(2))).text for seed in range(300)]


def _parses(text: str) -> bool:
    try:
        return bool(json.loads(text))
    except ValueError:
        return False


def test_latency_is_slept() -> None:
    slept: list[float] = []
    ScriptedModel(ScriptedEndpoint(kind="scripted", latency_s=0.5), sleep=slept.append).complete(
        ask()
    )
    assert slept == [0.5]


def test_tokens_are_words() -> None:
    reply = scripted().complete(ask("three small words"))
    assert (reply.prompt_tokens, reply.reply_tokens) == (3, len(reply.text.split()))


def test_therapist_and_patient_speak_differently_and_nobody_says_goodbye() -> None:
    texts = {
        who: " ".join(
            scripted().complete(ask(f"You are a {who}.", seed=seed)).text for seed in range(30)
        )
        for who in ROLES
    }
    assert "Let us" in texts["therapist"]
    assert "Let us" not in texts["patient"]
    assert not re.search(r"(?i)good ?bye|take care|see you|until next", " ".join(texts.values()))
    assert all(len(scripted().complete(ask(seed=seed)).text) > 200 for seed in range(30))
