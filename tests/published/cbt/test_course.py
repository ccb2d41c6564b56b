"""Course sessions: the summary is no turn, wherever it stands, and what a model added is no turn
either.
"""

from __future__ import annotations

import pytest

from cbt_ray.published.cbt.course import read_course_session
from cbt_ray.therapy.session import Speaker
from tests.published.cbt.clone import course

P, T = Speaker.PATIENT, Speaker.THERAPIST
FIRST = "Patient: I'm Kim, here for my first session.\n\nTherapist: Welcome.\n\n"


def test_a_session_with_what_it_brings_along_and_its_summary() -> None:
    read = read_course_session(
        "f", course(2, "- sleep\n- a fall", "- more sleep"), ["- sleep\n- a fall"]
    )
    assert read.written.opening == "- sleep\n- a fall"
    assert read.written.turns[0].text == "Hi, I'm back for session 2."
    assert read.written.summary == "- more sleep"
    assert read.passed == "- more sleep"
    assert read.written.turns[-1].text == "Until next week, keep the record."
    assert [turn.speaker for turn in read.written.turns] == [P, T, P, T, P, T, T, P, T]
    assert [remark.reason for remark in read.remarks] == ["the same speaker twice in a row"]


@pytest.mark.parametrize(
    ("end", "last", "summary"),
    [
        ("Patient: See you.\n\nSession Summary:\n- a\n- b\n\n", "See you.", "- a\n- b"),
        (
            "Therapist: Before we end:\n\nSession Summary:\n- a\n\nPatient: Thanks.\n\nTherapist: "
            "Bye.\n\n",
            "Bye.",
            "- a",
        ),
        ("Therapist: Session Summary: - a\n\n", "Welcome.", "- a"),
        ("Therapist: Here is our SESSION SUMMARY:\n- a\n\n", "Here is our", "- a"),
        ("Therapist: Bye.\n\nSession Summary:\nPatient: Kim\n- a\n\n", "Bye.", "Patient: Kim\n- a"),
        (
            "Therapist: Bye.\n\nSession Summary:\n- a\n\nThank you for your work today.\n\n",
            "Bye.",
            "- a\n\nThank you for your work today.",
        ),
    ],
)
def test_where_the_summary_stands(end: str, last: str, summary: str) -> None:
    read = read_course_session("f", FIRST + end)
    assert (read.written.turns[-1].text, read.written.summary) == (last, summary)
    assert not any(summary.splitlines()[0] in turn.text for turn in read.written.turns)


def test_a_part_that_the_model_announced_is_nobodys() -> None:
    text = (
        FIRST.rstrip()
        + "\n\nHere is part 2 of the session:\n\nPatient: Yes.\n\nSession Summary:\n- a\n\n"
    )
    read = read_course_session("f", text)
    assert [turn.text for turn in read.written.turns] == [
        "I'm Kim, here for my first session.",
        "Welcome.",
        "Yes.",
    ]
    assert [(remark.line, "nobody" in remark.reason) for remark in read.remarks] == [(5, True)]


def test_turns_of_a_single_line_each() -> None:
    read = read_course_session(
        "f",
        "Patient: One.\nTherapist: Two.\nPatient: Three.\nTherapist: Four.\nSession Summary: - a\n",
    )
    assert [turn.text for turn in read.written.turns] == ["One.", "Two.", "Three.", "Four."]


def test_what_is_passed_on_is_what_the_public_code_passed_on() -> None:
    """Up to the therapist's next message, the patient's words in between included.

    The opening of the next session ends there.
    """
    text = (
        FIRST
        + "Therapist: Now:\n\nSession Summary:\n- a\n\nPatient: A good summary.\n\nTherapist: "
        "Bye.\n\n"
    )
    read = read_course_session("f", text)
    assert read.passed == "- a\n\nPatient: A good summary."
    following = read_course_session("f", course(2, read.passed, "- b"), [read.passed])
    assert following.written.opening == read.passed
    assert following.written.turns[1].text == "Welcome to session 2. Our agenda is sleep."


def test_no_summary_is_said() -> None:
    assert [remark.reason for remark in read_course_session("f", FIRST).remarks] == [
        "no session summary"
    ]
