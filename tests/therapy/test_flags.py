"""Flags at their thresholds."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.therapy.flags import NAMES, flags_of, repeated_turns
from cbt_ray.therapy.session import Session
from cbt_ray.therapy.stop import StopReason
from tests.therapy.scripts import session
from tests.therapy.spoken import flag_rules

THERAPIST = (
    "What went through your mind when the others had left the room?",
    "How strong was that feeling, from one to ten, while you walked home?",
    "Which small step could you try before we talk again next week?",
    "What else would you like to bring up before we come to the end?",
)
PATIENT = (
    "I slept badly for the third night in a row, and then the alarm did not ring.",
    "I thought that I had failed them all, and that it would show sooner or later.",
    "About seven, I guess, and it got a little weaker once I was at the river.",
    "A short walk, perhaps, before the shops open and the street fills up.",
)


def talk(therapist: tuple[str, ...] = THERAPIST, patient: tuple[str, ...] = PATIENT) -> Session:
    return session(*(text for pair in zip(patient, therapist, strict=False) for text in pair))


def flags(held: Session, stop: StopReason = StopReason.END_TOKEN, **rules: Any) -> list[str]:
    return flags_of(held, stop, flag_rules(**rules))


def test_ordinary_session_has_none() -> None:
    assert flags(talk()) == []


@pytest.mark.parametrize(("threshold", "flagged"), [(4, False), (5, True)])
def test_few_therapist_turns(threshold: int, flagged: bool) -> None:
    assert ("few_therapist_turns" in flags(talk(), few_therapist_turns=threshold)) is flagged


@pytest.mark.parametrize(
    ("stop", "threshold", "flagged"),
    [
        (StopReason.END_TOKEN, 8, False),
        (StopReason.END_TOKEN, 9, True),
        (StopReason.FAREWELL, 9, True),
        (StopReason.THERAPIST_REFUSED, 9, True),
        (StopReason.MAX_MESSAGES, 9, False),
        (StopReason.MAX_WORDS, 9, False),
    ],
)
def test_early_end(stop: StopReason, threshold: int, flagged: bool) -> None:
    assert ("early_end" in flags(talk(), stop, early_end=threshold)) is flagged


@pytest.mark.parametrize(("threshold", "flagged"), [(0.25, True), (0.26, False)])
@pytest.mark.parametrize("speaker", ["therapist", "patient"])
def test_repetition_of_either_speaker(speaker: str, threshold: float, flagged: bool) -> None:
    texts = THERAPIST if speaker == "therapist" else PATIENT
    held = talk(**{speaker: (*texts[:2], texts[0], texts[1])})
    assert ("repetition" in flags(held, repetition=threshold)) is flagged


def test_repeated_turns_of_both_speakers_count_together() -> None:
    held = talk((*THERAPIST[:3], THERAPIST[0]), (*PATIENT[:3], PATIENT[0]))
    assert flags(held, repetition=0.25) == ["repetition"]


def test_once_is_no_repetition_however_short_the_session() -> None:
    assert flags(talk((*THERAPIST[:3], THERAPIST[0])), repetition=0.0) == []


def test_what_the_other_speaker_said_is_no_repetition() -> None:
    assert flags(talk(PATIENT, PATIENT)) == []


@pytest.mark.parametrize(("run", "repeated"), [(4, 1), (9, 0)])
def test_run_of_words(run: int, repeated: int) -> None:
    texts = ["we could try a small step today, maybe", "as I said: we could try a small step today"]
    assert repeated_turns(texts, flag_rules(repeated_run=run)) == repeated


@pytest.mark.parametrize(("share", "repeated"), [(0.8, 1), (0.81, 0)])
def test_share_of_a_turn_from_which_it_repeats(share: float, repeated: int) -> None:
    texts = [
        "one two three four five six seven eight",
        "One, two, three, four, five, six, seven, eight! Nine ten",
    ]
    assert repeated_turns(texts, flag_rules(repeated_share=share)) == repeated


@pytest.mark.parametrize(("threshold", "flagged"), [(0.0, True), (0.25, True), (0.26, False)])
def test_role_confusion(threshold: float, flagged: bool) -> None:
    held = talk(therapist=(*THERAPIST[:3], "I see.\nPatient: I went for a walk."))
    assert ("role_confusion" in flags(held, role_confusion=threshold)) is flagged


def test_role_confusion_of_the_patient_counts_among_its_own_turns() -> None:
    held = talk(
        patient=(*PATIENT[:3], "That is a great step, Teresa. What would help you to keep at it?")
    )
    assert flags(held, role_confusion=0.25) == ["role_confusion"]
    assert flags(held, role_confusion=0.26) == []


def test_no_confusion_is_never_flagged() -> None:
    assert flags(talk(), role_confusion=0.0) == []


@pytest.mark.parametrize("mark", flag_rules().template_leakage)
@pytest.mark.parametrize("speaker", ["therapist", "patient"])
def test_template_leakage(mark: str, speaker: str) -> None:
    texts = THERAPIST if speaker == "therapist" else PATIENT
    for written in (mark, mark.upper()):
        assert flags(talk(**{speaker: (f"{texts[0]} {written}", *texts[1:])})) == [
            "template_leakage"
        ]


def test_own_label_is_leakage_and_no_confusion() -> None:
    assert flags(talk(therapist=(f"AI CBT Therapist: {THERAPIST[0]}", *THERAPIST[1:]))) == [
        "template_leakage"
    ]


def test_label_of_the_other_is_both() -> None:
    assert flags(talk(therapist=(f"{THERAPIST[0]}\nTeresa: Nothing.", *THERAPIST[1:]))) == [
        "role_confusion",
        "template_leakage",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[We breathe together.]",
        "[Patient and therapist breathe together]",
        "Two things: sleep, and # 3.",
    ],
)
def test_brackets_and_colons_of_ordinary_talk_are_no_leakage(text: str) -> None:
    assert flags(talk(therapist=(text, *THERAPIST[1:]))) == []


def test_flags_stand_in_their_order() -> None:
    said = "Patient: we go round and round in the same circle here"
    assert flags(session(said, said, said, said), repetition=0.5, few_therapist_turns=3) == list(
        NAMES
    )


def test_session_without_a_turn_is_flagged_and_does_not_fail() -> None:
    assert flags(session()) == ["few_therapist_turns", "early_end"]


@pytest.mark.parametrize(
    "text",
    [
        "### Homework for Next Session\n1. **Journaling:** ten minutes a day.",
        "Fine.\n\n## What we did\n\n#### 1. Track your income\n# Plan",
        "### Instructions for the week\n- Walk.",
        "I scored ### on it.",
    ],
)
@pytest.mark.parametrize("speaker", ["therapist", "patient"])
def test_a_markdown_heading_is_style_and_no_leakage(text: str, speaker: str) -> None:
    texts = THERAPIST if speaker == "therapist" else PATIENT
    assert flags(talk(**{speaker: (f"{texts[0]}\n\n{text}", *texts[1:])})) == []


@pytest.mark.parametrize(
    "text",
    ["###.", "###", "## \n", "### Response:\nGood.", "### Instruction:\nYou are", "### INPUT: x"],
)
def test_header_marks_without_a_header_and_headers_of_an_instruction_are(text: str) -> None:
    assert flags(talk(therapist=(f"{THERAPIST[0]}\n\n{text}", *THERAPIST[1:]))) == [
        "template_leakage"
    ]
