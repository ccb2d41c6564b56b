"""Rules: what they count in a session, by hand."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from cbt_ray.rating.measure import Ends, Value
from cbt_ray.rating.rule import ends_of, kind_of, values
from cbt_ray.study.rater import FlagName, Rule, Rulebook
from cbt_ray.therapy.flags import NAMES
from cbt_ray.therapy.session import Session, Speaker, Turn

SESSION = Session(
    "Ada",
    1,
    "all",
    "A summary of four words.",
    tuple(
        Turn(speaker, text)
        for speaker, text in (
            (Speaker.PATIENT, "I slept badly. Why?"),
            (Speaker.THERAPIST, "What went on? And what did you feel?"),
            (Speaker.PATIENT, "Nothing."),
            (Speaker.THERAPIST, "You felt nothing, and FELT it."),
        )
    ),
    "",
)
EMPTY = Session("Ada", 1, "all", "", (), "")
COUNTED: list[tuple[dict[str, Any], float]] = [
    ({"count": "words"}, 14),
    ({"count": "words", "of": "patient"}, 5),
    ({"count": "words", "of": "both"}, 19),
    ({"count": "words", "share": True}, 100 * 14 / 19),
    ({"count": "turns", "of": "both"}, 4),
    ({"count": "turns", "of": "patient", "share": True}, 50),
    ({"count": "questions"}, 1),
    ({"count": "questions", "of": "both"}, 2),
    ({"count": "questions", "share": True}, 50),
    ({"count": "matches", "regex": r"\bfelt\b"}, 2),
    ({"count": "matches", "regex": r"\bfelt\b", "share": True}, 50),
    ({"count": "matches", "regex": "nothing", "of": "both"}, 2),
    ({"flag": "repetition"}, 1),
    ({"flag": "early_end"}, 0),
]


@pytest.mark.parametrize(("rule", "expected"), COUNTED, ids=lambda one: str(one))
def test_what_a_rule_counts(rule: dict[str, Any], expected: float) -> None:
    book = Rulebook(kind="rule", rules={"it": Rule(**rule)})
    assert values(book, SESSION, ["repetition"]) == {"it": Value(pytest.approx(expected))}
    low, high = ends_of(book.rules["it"])
    assert low is not None
    assert low <= expected
    assert high is None or expected <= high


def test_a_share_of_nothing_has_no_value_and_says_so() -> None:
    book = Rulebook(
        kind="rule",
        rules={
            "talk": Rule(count="words", share=True),
            "asks": Rule(count="questions", share=True),
            "n": Rule(count="words"),
        },
    )
    assert values(book, EMPTY, ()) == {
        "talk": Value(None, "division_by_zero"),
        "asks": Value(None, "division_by_zero"),
        "n": Value(0),
    }


def test_counts_have_no_highest_value() -> None:
    assert ends_of(Rule(count="words")) == Ends(0, None)
    assert ends_of(Rule(count="words", share=True)) == Ends(0, 100)
    assert ends_of(Rule(flag="repetition")) == Ends(0, 1)


def test_a_rule_is_a_flag_a_share_or_a_count() -> None:
    assert kind_of(Rule(flag="repetition")) == "flag"
    assert kind_of(Rule(count="words", share=True)) == "share"
    assert kind_of(Rule(count="missed")) == "count"


def test_every_flag_may_be_a_rule() -> None:
    assert get_args(FlagName) == NAMES
