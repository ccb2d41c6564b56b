"""A session's file, and each way in which it can be otherwise."""

from __future__ import annotations

import pytest

from cbt_ray.published.act.transcript import MESSAGES, Simulated, read_transcript, same_words
from cbt_ray.therapy.session import Speaker, Turn
from cbt_ray.therapy.stop import StopReason
from tests.published.act.clone import (
    NO_ANSWER,
    NO_FORM,
    TOO_LONG,
    dialogue,
    exchange,
    transcript,
    whole,
)


def read(text: str) -> Simulated:
    return read_transcript("a.txt", text)


def lost(text: str) -> list[str]:
    return [str(remark) for remark in read(text).remarks if remark.lost]


def test_a_session_held_to_its_end() -> None:
    found = read(whole("Goal: ask."))
    assert (len(found.turns), found.stop) == (MESSAGES, StopReason.MAX_MESSAGES)
    assert found.turns[0] == Turn(Speaker.PATIENT, "It is all grey.")
    own = Turn(Speaker.THERAPIST, "What of part 1?", (("thinking", "Goal: ask."),))
    assert found.turns[1:3] == (own, Turn(Speaker.PATIENT, "Part 1."))
    assert (found.missed, found.remarks) == ((), ())


def test_what_the_judge_read_is_the_dialogue() -> None:
    text = transcript(exchange(1, "So?", "Goal."), exchange(2, NO_ANSWER, "Only this.", ""))
    assert same_words(read(text).judged, dialogue(text))
    assert not same_words(read(text).judged, dialogue(text).replace("So?", "No."))


@pytest.mark.parametrize(
    ("thinking", "missed"),
    [
        (NO_FORM, "no_form"),
        ("[Thinking not properly formatted or missing]", "no_thinking"),
        ("[Thinking part not extractable]", "empty_thinking"),
        ("[Model is answer-only, no thinking part generated.]", None),
        ("[Thinking part is not generated with this prompt]", None),
    ],
)
def test_marks_are_no_thoughts(thinking: str, missed: str | None) -> None:
    found = read(transcript(exchange(1, "So?", thinking)))
    assert found.turns[1] == Turn(Speaker.THERAPIST, "So?", (), missed)
    assert found.missed == ((missed,) if missed else ())


@pytest.mark.parametrize(
    ("answer", "thinking", "stop", "missed"),
    [
        (NO_ANSWER, "Only this.", "therapist_empty", ("no_answer",)),
        (TOO_LONG, NO_FORM, "context_full", ("no_form",)),
        (TOO_LONG, None, "context_full", ()),
        (
            "[SFT Therapist generation error: Therapist generated response text is empty.]",
            None,
            "therapist_empty",
            (),
        ),
        ("[SFT Therapist generation error: out of luck]", None, "other", ()),
        ("[SFT Therapist failed to generate a response]", None, "therapist_empty", ()),
    ],
)
def test_a_note_in_the_place_of_words_is_no_turn(
    answer: str, thinking: str | None, stop: str, missed: tuple[str, ...]
) -> None:
    found = read(transcript(exchange(1, "So?"), exchange(2, answer, thinking, "")))
    assert [turn.text for turn in found.turns] == ["It is all grey.", "So?", "Hm."]
    assert (found.stop.value, found.details, found.missed) == (stop, answer, missed)
    assert ["no turn" in remark.reason for remark in found.remarks] == [True]


def test_an_error_of_the_patients_provider_ends_it_too() -> None:
    note = "[OpenAI Patient generation error: 500]"
    found = read(transcript(exchange(1, "So?", None, note)))
    assert (len(found.turns), found.stop, found.details) == (2, StopReason.OTHER, note)


def test_events_are_no_words() -> None:
    event = "[System Note: You are tired. Let it show.]"
    told = f"\n--- [SYSTEM INJECTION at Turn 1]: {event} ---\n\n"
    text = transcript(exchange(1, "So?").replace("Turn 1 ---\n", f"Turn 1 ---\n{told}"))
    found = read(text)
    assert found.events == (event,)
    assert [turn.text for turn in found.turns] == ["It is all grey.", "So?", "Hm."]


def test_labels_and_headings_inside_a_message_are_words() -> None:
    answer = "Say:\n\nPatient: I am.\n\n--- Turn 1 ---\n\nTherapist: Good."
    found = read(transcript(exchange(1, answer)))
    assert [turn.text for turn in found.turns[1:]] == [answer, "Hm."]
    said = [f"{remark.line}: {remark.reason}" for remark in found.remarks]
    assert said[0] == "10: what may be a turn's heading is taken as words"
    assert said[1] == "6: `Patient:` inside a message, taken as words"


def test_an_end_without_a_reason_is_said() -> None:
    found = read(transcript(exchange(1, "So?")))
    assert found.stop is StopReason.OTHER
    assert found.remarks[-1].reason == "ends before 51 messages and does not say why"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.txt:1: not imported: expected `--- Turn 0 (Patient Initiation) ---`"),
        ("A talk.", "a.txt:1: not imported: expected `--- Turn 0 (Patient Initiation) ---`"),
        (
            transcript(exchange(2, "So?")),
            "a.txt:5: not imported: expected turn 1 next, found turn 2",
        ),
        (
            transcript(exchange(1, "So?").replace("Therapist:", "Counsellor:")),
            "a.txt:6: not imported: turn 1: expected `Therapist: ` or `Therapist Thinking:`",
        ),
        (
            transcript(exchange(1, "So?", "Goal.").replace("Therapist Answer:", "Answer:")),
            "a.txt:6: not imported: turn 1: expected `Therapist: ` or `Therapist Thinking:`",
        ),
        (
            "--- Turn 0 (Patient Initiation) ---\nPATIENT (INITIAL - ERROR): Failed",
            "a.txt:2: not imported: expected the patient's first message, `Patient: ...`",
        ),
        (transcript(), "a.txt:1: not imported: the therapist says nothing"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, said: str) -> None:
    assert lost(text)[0] == said
