"""Flags at their thresholds."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.study.protocol import Flags
from cbt_ray.therapy.flags import NAMES, flags_of, repeated_share
from cbt_ray.therapy.session import Session
from cbt_ray.therapy.stop import StopReason
from tests.therapy.scripts import session

THERAPIST = ("What went through your mind?", "How strong was it from one to ten?", "Which step could you try?", "What else?")
PATIENT = ("I slept badly.", "I thought I had failed them all.", "About seven, I guess.", "A short walk, perhaps.")


def talk(therapist: tuple[str, ...] = THERAPIST, patient: tuple[str, ...] = PATIENT) -> Session:
    return session(*(text for pair in zip(patient, therapist, strict=False) for text in pair))


def flags(held: Session, stop: StopReason = StopReason.END_TOKEN, **rules: Any) -> list[str]:
    return flags_of(held, stop, Flags(**rules))


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
    held = talk(**{speaker: (*texts[:3], texts[0])})
    assert ("repetition" in flags(held, repetition=threshold)) is flagged


@pytest.mark.parametrize(("threshold", "flagged"), [(0.0, True), (0.25, True), (0.26, False)])
def test_role_confusion(threshold: float, flagged: bool) -> None:
    held = talk(therapist=(*THERAPIST[:3], "I see.\nPatient: I went for a walk."))
    assert ("role_confusion" in flags(held, role_confusion=threshold)) is flagged


@pytest.mark.parametrize(
    "text", ["Hello Nova, I slept badly.", "I told my therapist so.", "As your patient I disagree.", "Client: yes"]
)
def test_therapist_that_speaks_as_the_patient(text: str) -> None:
    assert flags(talk(therapist=(text, *THERAPIST[1:]))) == ["role_confusion"]


def test_patient_may_speak_of_my_therapist_and_no_confusion_is_never_flagged() -> None:
    assert flags(talk(patient=("My therapist knows.", *PATIENT[1:])), role_confusion=0.0) == []


@pytest.mark.parametrize("mark", Flags().template_leakage)
@pytest.mark.parametrize("speaker", ["therapist", "patient"])
def test_template_leakage(mark: str, speaker: str) -> None:
    texts = THERAPIST if speaker == "therapist" else PATIENT
    assert flags(talk(**{speaker: (f"{texts[0]} {mark}", *texts[1:])})) == ["template_leakage"]


def test_flags_stand_in_their_order() -> None:
    held = session("Hi.", "Patient: <|im_end|>", "Hi.")
    assert flags(held) == list(NAMES)


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        ([], 0.0),
        (["a"], 0.0),
        (["one two", "ONE  two"], 0.5),
        (["one", "two", "one", "one"], 0.5),
        (["same"] * 4, 0.75),
        (["I went for a short walk today.", "I went for a short walk today!"], 0.5),
        (["I went for a short walk today.", "Nobody noticed that I was there."], 0.0),
    ],
)
def test_repeated_share(texts: list[str], share: float) -> None:
    assert repeated_share(texts) == share


@pytest.mark.parametrize(("changed", "share"), [(1, 0.5), (2, 0.0)])
def test_nearly_the_same_is_nine_letters_in_ten(changed: int, share: float) -> None:
    assert repeated_share(["abcdefghij", "abcdefghij"[:-changed] + "xy"[:changed]]) == share
