"""The judge's answers are read strictly.

What is missing is asked for again, and stays missing with its reason.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cbt_ray.errors import Infrastructure, ModelFailure
from cbt_ray.llm.request import Request
from cbt_ray.prompts import Prompts
from cbt_ray.rating.judge import Rating, rate
from cbt_ray.rating.scale_file import load_scale
from cbt_ray.study.rater import Judge
from tests.therapy.scripts import REFUSED, Script, as_json, cut

SCALE = load_scale(Prompts(), "ctrs")
IDS = [item.id for item in SCALE.items]
TEXT = "Patient: I slept badly.\n\nTherapist: What went through your mind?"


def answer(word: Any = "Good", without: tuple[str, ...] = (), **words: Any) -> str:
    items = {
        item: {"justification": f"Because of {item}.", "word": words.get(item, word)}
        for item in IDS
        if item not in without
    }
    return as_json(items)


def rated(script: Script, attempts: int = 3, seed: int = 5, **judge: Any) -> Rating:
    asked = Judge(endpoint="script", attempts=attempts, **judge)
    return rate(TEXT, [SCALE], asked, Prompts(), script, seed)


def total_of(rating: Rating) -> float | None:
    return rating.measures["total"].value


def asked(request: Request) -> list[str]:
    assert request.schema is not None
    return list(request.schema["properties"])


@pytest.mark.parametrize(
    ("word", "total"), [("Severely Deficient", 11), ("Adequate", 66), ("Outstanding", 110)]
)
def test_total_of_eleven_items(word: str, total: int) -> None:
    script = Script([answer(word)])
    rating = rated(script)
    assert (total_of(rating), script.calls, rating.useless) == (total, 1, {})
    assert list(rating.items) == IDS
    assert rating.items["agenda"].to_json() == {
        "word": word,
        "score": total // 11,
        "justification": "Because of agenda.",
        "reason": None,
    }


def test_word_is_read_in_any_case_and_kept_as_the_scale_spells_it() -> None:
    assert rated(Script([answer(" VERY good ")])).items["pacing"].word == "Very Good"


def test_schema_holds_the_judge_to_items_and_words() -> None:
    script = Script([answer()])
    rated(script)
    assert asked(script.requests[0]) == IDS
    schema = script.requests[0].schema
    assert schema is not None
    assert schema["required"] == IDS
    item = schema["properties"]["agenda"]
    assert list(item["properties"]) == ["justification", "word"]
    assert item["properties"]["word"]["enum"] == [word.word for word in SCALE.steps]


MISSING = (
    (answer(without=("homework",)), "absent"),
    (answer(homework="Fair"), "unknown_word"),
    (answer(homework=7), "unknown_word"),
    (answer(homework=None), "unknown_word"),
    (json.dumps(json.loads(answer()) | {"homework": "Good"}), "absent"),
    (json.dumps(json.loads(answer()) | {"homework": {"score": 7}}), "unknown_word"),
)


@pytest.mark.parametrize(
    ("faulty", "reason"), MISSING, ids=[f"{reason}-{n}" for n, (_, reason) in enumerate(MISSING)]
)
def test_item_that_stays_missing_has_its_reason_and_leaves_no_total(
    faulty: str, reason: str
) -> None:
    script = Script([faulty])
    rating = rated(script, attempts=3)
    missing = rating.items["homework"]
    assert (missing.word, missing.score, missing.reason) == (None, None, reason)
    assert rating.measures["total"] == (None, "item_missing")
    assert [rating.items[item].score for item in IDS if item != "homework"] == [7] * 10
    assert [asked(request) for request in script.requests] == [IDS, ["homework"], ["homework"]]


def test_missing_items_alone_are_asked_for_again_and_others_keep_their_first_rating() -> None:
    again = as_json({item: {"justification": "J.", "word": "Poor"} for item in IDS})
    script = Script([answer(without=("agenda",), homework="Fair"), again])
    rating = rated(script)
    assert [asked(request) for request in script.requests] == [IDS, ["agenda", "homework"]]
    assert (
        rating.items["agenda"].score,
        rating.items["homework"].score,
        rating.items["pacing"].score,
    ) == (3, 3, 7)
    assert total_of(rating) == 9 * 7 + 2 * 3
    assert len({request.seed for request in script.requests}) == 2


USELESS = (
    ("", "empty"),
    (REFUSED, "refused"),
    ("Good.", "malformed"),
    ("[]", "malformed"),
    (cut(answer()), "cut"),
    ("{", "malformed"),
)


@pytest.mark.parametrize(
    ("useless", "reason"), USELESS, ids=[f"{reason}-{n}" for n, (_, reason) in enumerate(USELESS)]
)
def test_useless_answer_is_counted_and_asked_for_again(useless: Any, reason: str) -> None:
    rating = rated(Script([useless, answer()]))
    assert (total_of(rating), rating.useless) == (77, {reason: 1})


@pytest.mark.parametrize(
    ("useless", "reason"), USELESS, ids=[f"{reason}-{n}" for n, (_, reason) in enumerate(USELESS)]
)
def test_session_without_one_rated_item_is_rejected_with_the_reason(
    useless: Any, reason: str
) -> None:
    script = Script([useless])
    with pytest.raises(ModelFailure) as caught:
        rated(script, attempts=3)
    assert (caught.value.reason, script.calls) == (reason, 3)


def test_session_whose_items_are_all_absent_is_rejected() -> None:
    with pytest.raises(ModelFailure) as caught:
        rated(Script(["{}"]))
    assert caught.value.reason == "no_item"


def test_fault_of_the_world_is_no_missing_item() -> None:
    with pytest.raises(Infrastructure):
        rated(Script([answer(without=("agenda",)), Infrastructure("time-out", "timeout")]))


def test_items_separately() -> None:
    script = Script([as_json({item: {"justification": "J.", "word": "Good"}}) for item in IDS])
    assert total_of(rated(script, items="separately")) == 77
    assert [asked(request) for request in script.requests] == [[item] for item in IDS]
    assert len({request.seed for request in script.requests}) == 11


def test_items_separately_ask_again_for_the_missing_one_alone() -> None:
    def reply(request: Request, number: int) -> str:
        (item,) = asked(request)
        word = "Fair" if item == "pacing" and number < 8 else "Good"
        return as_json({item: {"justification": "J.", "word": word}})

    script = Script(reply)
    assert total_of(rated(script, items="separately")) == 77
    assert [asked(request) for request in script.requests].count(["pacing"]) == 3
    assert script.calls == 10 + 3


def test_justification_that_is_no_text_is_left_out() -> None:
    faulty = json.loads(answer()) | {"agenda": {"justification": ["a"], "word": "Good"}}
    rating = rated(Script([json.dumps(faulty)]))
    assert (rating.items["agenda"].justification, rating.items["agenda"].score) == ("", 7)


def test_every_request_holds_the_transcript_and_the_scale_begins_it() -> None:
    script = Script([answer(without=("agenda",)), answer()])
    rated(script)
    first, again = script.requests
    assert first.messages[0] == again.messages[0]
    assert all(TEXT in request.messages[1].content for request in script.requests)
    assert all(
        word.word in first.messages[0].content and word.anchor in first.messages[0].content
        for word in SCALE.steps
    )
    assert all(item.question in first.messages[0].content for item in SCALE.items)
