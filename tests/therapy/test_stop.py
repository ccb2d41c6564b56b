"""Stop rules: which one is met, from when it counts, and what length alone ends."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.study.protocol import EndToken, Farewell, Sessions, TherapistSummary
from cbt_ray.therapy.stop import StopReason, end_mark, hear, stop_reason
from tests.therapy.scripts import turns
from tests.therapy.spoken import ENGLISH

MARK = "[END OF SESSION]"
END, SUMMARY = EndToken(rule="end_token"), TherapistSummary(rule="summary")
FAREWELL = Farewell(rule="farewell", phrases=("take care", "goodbye"))


def rules(*stop: Any, **more: Any) -> Sessions:
    return ENGLISH.sessions(Sessions(count=1, stop=stop or (END, SUMMARY), **more))


@pytest.mark.parametrize(
    ("text", "left", "met"),
    [
        ("What happened?", "What happened?", None),
        (f"See you. {MARK}", "See you.", StopReason.END_TOKEN),
        (f"{MARK} See you.", "See you.", StopReason.END_TOKEN),
        (MARK, "", StopReason.END_TOKEN),
        (f"One. {MARK}{MARK}", "One.", StopReason.END_TOKEN),
        (
            "Here is the SESSION SUMMARY: sleep.",
            "Here is the SESSION SUMMARY: sleep.",
            StopReason.SUMMARY,
        ),
        (
            "A summary of our session: sleep.",
            "A summary of our session: sleep.",
            StopReason.SUMMARY,
        ),
        ("Take care!", "Take care!", None),
    ],
)
def test_rule_that_a_reply_meets(text: str, left: str, met: StopReason | None) -> None:
    heard = hear(text, rules())
    assert (heard.text, heard.rule) == (left, met)


@pytest.mark.parametrize("text", ["Take care!", "Well, GOODBYE then."])
def test_farewell(text: str) -> None:
    assert hear(text, rules(FAREWELL)).rule is StopReason.FAREWELL


def test_first_rule_of_the_study_file_wins_and_the_mark_is_taken_out_all_the_same() -> None:
    text = f"Session summary: sleep. Take care! {MARK}"
    assert hear(text, rules(END, SUMMARY, FAREWELL)).rule is StopReason.END_TOKEN
    heard = hear(text, rules(FAREWELL, SUMMARY, END))
    assert (heard.rule, heard.text) == (StopReason.FAREWELL, "Session summary: sleep. Take care!")


def test_mark_is_left_alone_where_no_rule_asks_for_it() -> None:
    heard = hear(f"Bye. {MARK}", rules(SUMMARY))
    assert (heard.text, heard.rule) == (f"Bye. {MARK}", None)


def test_mark_in_another_case_is_taken_out_too() -> None:
    heard = hear("Bye. [End of session]", rules())
    assert (heard.text, heard.rule) == ("Bye.", StopReason.END_TOKEN)


def test_mark_that_the_prompt_teaches() -> None:
    assert end_mark(rules()) == MARK
    assert end_mark(rules(EndToken(rule="end_token", mark="<done>"))) == "<done>"
    assert end_mark(rules(SUMMARY)) == ""


@pytest.mark.parametrize(("minimum", "stops"), [(0, True), (2, True), (3, False)])
def test_rule_counts_from_the_minimum_of_therapist_turns_on(minimum: int, stops: bool) -> None:
    said = turns("a", "b", "c", "d")
    found = stop_reason(said, StopReason.SUMMARY, rules(min_therapist_turns=minimum))
    assert found is (StopReason.SUMMARY if stops else None)


@pytest.mark.parametrize(("messages", "stops"), [(3, False), (4, True), (5, True)])
def test_messages(messages: int, stops: bool) -> None:
    said = turns(*"abcde"[:messages])
    assert stop_reason(said, None, rules(max_messages=4)) is (
        StopReason.MAX_MESSAGES if stops else None
    )


@pytest.mark.parametrize(("words", "stops"), [(9, False), (10, True)])
def test_words(words: int, stops: bool) -> None:
    said = turns("one two three", " ".join(["word"] * (words - 3)))
    assert stop_reason(said, None, rules(max_words=10)) is (StopReason.MAX_WORDS if stops else None)


def test_length_ends_a_session_below_the_minimum_of_therapist_turns() -> None:
    said = turns("a", "b", "c", "d")
    assert (
        stop_reason(said, StopReason.SUMMARY, rules(min_therapist_turns=9, max_messages=4))
        is StopReason.MAX_MESSAGES
    )


def test_rule_is_the_reason_where_length_is_reached_too() -> None:
    said = turns("a", "b", "c", "d")
    assert (
        stop_reason(said, StopReason.SUMMARY, rules(min_therapist_turns=1, max_messages=4))
        is StopReason.SUMMARY
    )
