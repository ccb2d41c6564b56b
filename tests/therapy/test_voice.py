"""Whose voice a turn is in."""

from __future__ import annotations

import pytest

from cbt_ray.therapy.session import Speaker
from cbt_ray.therapy.voice import Voices, voices
from tests.therapy.spoken import flag_rules

THERAPIST, PATIENT = Speaker.THERAPIST, Speaker.PATIENT


def known(patient: str = "Teresa van Dyke", **rules: str) -> Voices:
    return voices(patient, flag_rules(**rules))


@pytest.mark.parametrize(
    "text",
    [
        "Patient: yes",
        "I see.\nClient: yes",
        "**Patient:** yes",
        "I see.\n  Teresa: yes",
        "Teresa van Dyke: yes",
        "Dyke : yes",
        "The Patient: yes",
        "Hello Nova, I slept badly.",
        "Nova, I slept badly.",
        "I slept badly. Nova, what now?",
        "Thanks, Nova.",
        "I told my therapist so.",
        "As your patient I disagree.",
        "I want to be there for my kids.",
    ],
)
def test_therapist_that_speaks_as_the_patient(text: str) -> None:
    assert known().confused(THERAPIST, text)


@pytest.mark.parametrize(
    "text",
    [
        "Hello Teresa, I am Nova, an AI therapist.",
        "I am your therapist, Nova.",
        "Hello, Nova here.",
        "See you next week.\n\nBest regards, Nova",
        "Best regards,\nNova\nAI CBT Therapist.",
        'You could say: "I want to be there for my kids."',
        "You could think “Thanks, Nova.”",
        "For example:\n- I want to be there for my kids.\n2. My job is safe.",
        "Main points:\n- Patient's progress: good",
        "What would be patient: to wait, or to ask?",
        "Let us call it an innovation, Teresa.",
        "Therapist: what else?",
        "My limitations: I cannot see you.",
    ],
)
def test_therapist_that_keeps_its_role(text: str) -> None:
    assert not known().confused(THERAPIST, text)


@pytest.mark.parametrize(
    "text",
    [
        "Exactly, Teresa. What would you tell a friend?",
        "Therapist: go on",
        "Nova: go on",
        "Teresa, go on.",
    ],
)
def test_patient_that_speaks_as_the_therapist(text: str) -> None:
    assert known().confused(PATIENT, text)


@pytest.mark.parametrize(
    "text",
    [
        "Hi, I'm Teresa van Dyke.",
        "Thanks, Nova. My therapist before you never asked about my kids.",
        'I tell myself, "You are useless, Teresa."',
        "Team Lead: can you stay?\nMe: no",
        "Patient: I slept badly.",
    ],
)
def test_patient_that_keeps_its_role(text: str) -> None:
    assert not known().confused(PATIENT, text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Therapist: hm", True),
        ("Patient: hm", True),
        ("NOVA: hm", False),
        ("Nova: hm", True),
        ("So: hm", False),
    ],
)
def test_label_of_either_speaker(text: str, found: bool) -> None:
    assert known().labelled(text) is found


def test_name_of_the_therapist_is_the_study_s() -> None:
    assert known(therapist_name="Mira").confused(THERAPIST, "Thanks, Mira.")
    assert not known(therapist_name="Mira").confused(THERAPIST, "Thanks, Nova.")


def test_patient_without_a_name_is_addressed_by_none() -> None:
    assert not known("").confused(PATIENT, "Exactly, Teresa. Go on.")
    assert known("").confused(PATIENT, "Therapist: go on")
