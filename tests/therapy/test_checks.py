"""What sends a generated part back, one case each, and what just does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cbt_ray.therapy.checks import fault_of_part, fault_of_summary
from cbt_ray.therapy.session import Speaker, Turn
from tests.therapy.scripts import turns
from tests.therapy.spoken import ENGLISH

GOOD = (
    "I slept badly.",
    "For today's agenda I suggest sleep. In an emergency call the emergency services.",
)


def fault(texts: Sequence[str], part: int = 2, session: int = 2) -> str | None:
    return fault_of_part(turns(*texts), part, session, ENGLISH.course)


@pytest.mark.parametrize(("part", "session"), [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (4, 20)])
def test_good_part_is_kept(part: int, session: int) -> None:
    assert fault(GOOD, part, session) is None


@pytest.mark.parametrize("texts", [(), ("",), ("I slept badly.", "  \n"), ("", "What happened?")])
def test_empty(texts: Sequence[str]) -> None:
    assert fault(texts) == "empty"


def test_same_speaker_twice() -> None:
    said = (
        Turn(Speaker.PATIENT, "I slept badly."),
        Turn(Speaker.THERAPIST, "I see."),
        Turn(Speaker.THERAPIST, "Go on."),
    )
    assert fault_of_part(said, 2, 2, ENGLISH.course) == "same_speaker_twice"


@pytest.mark.parametrize(
    "text", ["Therapist: I see.", "I see. Patient: Yes.", "Nova : I see.", "Client: no"]
)
def test_speaker_label(text: str) -> None:
    assert fault(("Hello.", text)) == "speaker_label"


@pytest.mark.parametrize(
    "text", ["My therapist said so.", "The patient is me: I know.", "Therapists: they ask."]
)
def test_word_therapist_is_no_label(text: str) -> None:
    assert fault((text, "I see.")) is None


@pytest.mark.parametrize(
    "text",
    [
        "# Agenda",
        "Look:\n- sleep",
        "* sleep",
        "1. sleep",
        "2) sleep",
        "> I said",
        "this is **bold**",
        "`code`",
        "```x",
        "| a | b |",
        "a __b__",
    ],
)
def test_markdown(text: str) -> None:
    assert fault(("Hello.", text)) == "markdown"


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.5 of 10.",
        "A well-known thought - yes.",
        "On a scale of 1 to 10?",
        "Two * three is six.",
    ],
)
def test_plain_prose_is_no_markdown(text: str) -> None:
    assert fault(("Hello.", text)) is None


FAREWELLS = (
    "Goodbye.",
    "Good bye!",
    "See you next week.",
    "Take care!",
    "Until our next session.",
    "This is the end of our session.",
)


@pytest.mark.parametrize("text", FAREWELLS)
@pytest.mark.parametrize("part", [1, 2, 3])
def test_farewell_before_the_last_part(text: str, part: int) -> None:
    assert fault((GOOD[0], f"{GOOD[1]} {text}"), part, 1) == "ended_early"


@pytest.mark.parametrize("text", FAREWELLS)
def test_farewell_in_the_last_part_is_right(text: str) -> None:
    assert fault(("Thank you.", text), 4) is None


def test_agenda_is_asked_of_the_therapist_in_part_one_only() -> None:
    without = ("What is on the agenda?", "In an emergency call for help.")
    assert fault(without, part=1) == "no_agenda"
    assert fault(without, part=2) is None
    assert fault(("Hello.", "Our AGENDA is sleep."), part=1) is None


def test_limits_are_asked_of_the_therapist_in_the_first_session_only() -> None:
    without = ("It is an emergency.", "For our agenda I suggest sleep.")
    assert fault(without, part=1, session=1) == "no_limits"
    assert fault(without, part=1, session=2) is None
    assert fault(without, part=2, session=1) is None


@pytest.mark.parametrize(
    ("length", "found"),
    [(0, "no_summary"), (9, "summary_length"), (10, None), (20, None), (21, "summary_length")],
)
def test_summary_length(length: int, found: str | None) -> None:
    assert fault_of_summary("x" * length, (10, 20)) == found


def test_blanks_do_not_count_for_a_summary() -> None:
    assert fault_of_summary("   \n", (1, 20)) == "no_summary"
    assert fault_of_summary("  " + "x" * 9 + "  ", (10, 20)) == "summary_length"
