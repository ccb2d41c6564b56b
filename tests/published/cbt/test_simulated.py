"""Simulated sessions are read by message, whatever their messages hold."""

from __future__ import annotations

import pytest

from cbt_ray.published.cbt.simulated import read_simulated
from cbt_ray.therapy.session import Speaker
from cbt_ray.therapy.stop import StopReason
from tests.published.cbt.clone import FAREWELL, simulated, talk

P, T = Speaker.PATIENT, Speaker.THERAPIST


def test_turns_are_whole_and_the_labels_gone() -> None:
    read = read_simulated("f", simulated(1, "Ada", talk(1), **FAREWELL))
    turns = read.written.turns
    assert [turn.speaker for turn in turns] == [P, T, P, T, P, T, P, T]
    assert turns[1].text == "How was part 0 of week 1?\n\n- think of mornings\n- and of evenings"
    assert read.number == 1
    assert read.stop is StopReason.FAREWELL
    assert read.written.stopped == ("Natural Session End", r"Detected end phrase: '\btake care\b'")
    assert read.written.summary == "A short summary."
    assert read.passed == "Session Summary:\n\nA short summary."
    assert read.remarks == ()


def test_the_previous_summary_is_no_turn() -> None:
    passed = "Session Summary:\n\nSession Summary:\n\n1. Sleep\n- less of it\n\n2. Work"
    read = read_simulated("f", simulated(2, "Ada", talk(2), passed, **FAREWELL), [passed])
    assert read.written.opening == "Session Summary:\n\n1. Sleep\n- less of it\n\n2. Work"
    assert read.written.turns[0].text == "Hi, I'm Ada. This is my 2 CBT session."
    assert read.written.turns[1].speaker is T
    assert read.remarks == ()


def test_a_summary_that_looks_like_messages_is_still_the_summary() -> None:
    passed = "Session Summary:\n\nI hear you.\n\nTherapist: How does that sound?\n\nPatient: Well."
    text = simulated(2, "Ada", talk(2), passed, **FAREWELL)
    read = read_simulated("f", text, ["another one", passed])
    assert read.written.opening == passed.removeprefix("Session Summary:\n\n")
    assert len(read.written.turns) == 1 + len(talk(2))
    alone = read_simulated("f", text)
    assert alone.written.opening == "I hear you."
    assert len(alone.written.turns) == 3 + len(talk(2))
    assert alone.remarks == ()


def test_an_unknown_summary_goes_to_the_next_message_and_is_noted() -> None:
    read = read_simulated(
        "f",
        simulated(2, "Ada", talk(2), "Session Summary:\n\nOther words.", **FAREWELL),
        ["Session Summary:\n\nThese."],
    )
    assert read.written.opening == "Other words."
    assert [remark.line for remark in read.remarks] == [3]


def test_an_error_that_was_passed_on_is_an_opening() -> None:
    failed = read_simulated(
        "f", simulated(1, "Ada", [], reason="Critical Error", details="RetryError[...]")
    )
    assert failed.passed == "Session terminated due to error: RetryError[...]"
    after = read_simulated(
        "f", simulated(2, "Ada", talk(2), failed.passed, **FAREWELL), [failed.passed]
    )
    assert after.written.opening == failed.passed
    assert after.remarks == ()


@pytest.mark.parametrize(
    ("turns", "details", "stop"),
    [
        ([], "RetryError[...]", StopReason.THERAPIST_EMPTY),
        ([], "Requested tokens (10001) exceed context window of 10000", StopReason.CONTEXT_FULL),
        ([("Therapist", "Hello there.")], "RetryError[...]", StopReason.OTHER),
    ],
)
def test_a_failure_is_the_therapists_where_it_was_its_turn(
    turns: list[tuple[str, str]], details: str, stop: StopReason
) -> None:
    assert (
        read_simulated(
            "f", simulated(1, "Ada", turns, reason="Critical Error", details=details)
        ).stop
        is stop
    )


def test_limits() -> None:
    said = "Turn Limit Exceeded", "Turn count: 51/50"
    text = simulated(1, "Ada", talk(1), limit=" - ".join(said), reason=said[0], details=said[1])
    read = read_simulated("f", text)
    assert read.stop is StopReason.MAX_MESSAGES
    assert read.written.turns[-1].text == "Take care until we meet again."
    assert [remark.reason for remark in read.remarks] == ["it says 51 messages, found 8"]
    words = read_simulated(
        "f",
        simulated(
            1,
            "Ada",
            talk(1),
            limit="Word Limit Exceeded - ...",
            reason="Word Limit Exceeded",
            details="...",
        ),
    )
    assert words.stop is StopReason.MAX_WORDS


def test_without_details_it_was_the_number_of_words() -> None:
    long = [("Therapist", "word " * 4990 + "end.")]
    read = read_simulated("f", simulated(1, "Ada", long))
    assert (read.stop, read.written.stopped, read.written.summary) == (
        StopReason.MAX_WORDS,
        None,
        "A short summary.",
    )
    assert read.remarks == ()
    assert read_simulated("f", simulated(1, "Ada", talk(1))).stop is StopReason.OTHER


def test_labels_inside_a_message_are_words_of_it() -> None:
    turns = [
        ("Therapist", "I would say:\nPatient: I fail.\nTherapist: Always?"),
        ("Patient", "My mother: she says Therapist: often."),
    ]
    read = read_simulated("f", simulated(1, "Ada", turns, **FAREWELL))
    assert [turn.text for turn in read.written.turns[1:]] == [words for _, words in turns]


def test_what_is_out_of_the_ordinary_is_said_with_its_line() -> None:
    talk = (
        "Session Number: 1\n\nBy the way\n\nPatient: Hi.\n\nPatient: Me again.\n\nTherapist: \n\n\n"
    )
    text = f"{talk}Termination Details:\nReason: Sudden\nDetails: x\n\n\nSession Summary:\n\ns\n"
    read = read_simulated("f.txt", text)
    assert [str(remark) for remark in read.remarks] == [
        "f.txt:3: words before the first message, or between messages, that nobody says",
        "f.txt:7: the same speaker twice in a row",
        "f.txt:9: an empty message",
        "f.txt: no therapist turn",
    ]
    assert [turn.text for turn in read.written.turns] == ["Hi.", "Me again."]
    assert read.stop is StopReason.OTHER
    assert read.written.stopped == ("Sudden", "x")


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes() -> None:
    whole = simulated(1, "Ada", talk(1), **FAREWELL)
    read = read_simulated("f", whole[: whole.index("Take care") + 4])
    assert read.written.turns[-1].text == "Take"
    assert [remark.reason for remark in read.remarks] == [
        "ends without termination details and summary"
    ]
    headless = read_simulated("f", whole.removeprefix("Session Number: 1\n\n"))
    assert headless.number is None
    assert headless.remarks[0].line == 1
