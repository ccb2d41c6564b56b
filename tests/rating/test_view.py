"""What the judge sees of a session."""

from __future__ import annotations

import re

import pytest

from cbt_ray.rating.view import heard, judged_turns, view_text
from cbt_ray.therapy.session import Speaker, Turn
from tests.therapy.scripts import session, turns
from tests.therapy.spoken import ENGLISH

HELD = session(
    "Hi, I'm Teresa.",
    "What happened?",
    "I slept badly.",
    "See you next week.",
    opening="Last time she wept.",
)


def test_summary_block_is_removed_and_nothing_else() -> None:
    judged = judged_turns(HELD, "summary")
    assert tuple(judged) == HELD.turns
    text = view_text(judged, "plain", (), ENGLISH)
    assert "wept" not in text
    assert "[Summary" not in text
    assert text == (
        "[1] Patient: Hi, I'm Teresa.\n[2] Therapist: What happened?\n[3] Patient: I slept badly.\n"
        "[4] Therapist: See you next week.\n[end of transcript, 4 turns]"
    )


def test_strip_paper_removes_the_patients_first_and_the_therapists_last_turn() -> None:
    assert [turn.text for turn in judged_turns(HELD, "paper")] == [
        "What happened?",
        "I slept badly.",
    ]


def test_strip_paper_removes_the_therapists_last_turn_before_a_last_word_of_the_patient() -> None:
    held = session("Hi.", "What happened?", "I slept badly.", "Take care.", "Thanks.")
    assert [turn.text for turn in judged_turns(held, "paper")] == [
        "What happened?",
        "I slept badly.",
        "Thanks.",
    ]


@pytest.mark.parametrize(("texts", "left"), [(("Hi.",), []), (("Hi.", "Bye."), []), ((), [])])
def test_strip_paper_of_a_short_session(texts: tuple[str, ...], left: list[str]) -> None:
    assert judged_turns(session(*texts), "paper") == left


def shown(patient: str, therapist: str) -> str:
    return f"[1] Patient: {patient}\n[2] Therapist: {therapist}\n[end of transcript, 2 turns]"


def masked(therapist: str, patient: str = "Hi.") -> str:
    return view_text(turns(patient, therapist), "masked", (), ENGLISH)


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("I am an AI. What happened?", "What happened?"),
        ("As a language model I may be wrong. What happened?", "What happened?"),
        ("In an emergency call for help! What happened?", "What happened?"),
        ("I cannot see non-verbal cues. What happened?", "What happened?"),
        ("**What** happened?", "What happened?"),
        ("# Agenda\n- sleep\n1. mood", "Agenda sleep mood"),
        ("`What` happened?<|im_end|>", "What happened?"),
        ("[INST] What happened? [/INST]</s>", "What happened?"),
        ("### Response: What happened?", "What happened?"),
        ("I am an AI.", "[...]"),
        ("What happened?", "What happened?"),
    ],
)
def test_masked_view_removes_what_gives_an_arm_away(said: str, seen: str) -> None:
    (line,) = re.findall(r"(?s)\[2\] Therapist: (.*)\n\[end", masked(said))
    assert line.replace("\n> ", " ").split() == seen.split()


def test_masked_view_leaves_the_patients_sentences_alone_but_for_markup() -> None:
    text = masked("What happened?", "It was a **crisis** at work.")
    assert text == shown("It was a crisis at work.", "What happened?")


def test_plain_view_removes_no_markup_and_no_statement() -> None:
    said = "I am an AI. **What** happened?<|im_end|>"
    assert view_text(turns("Hi.", said), "plain", (), ENGLISH) == shown("Hi.", said)


@pytest.mark.parametrize("view", ["plain", "masked"])
@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("I am Qwen.", "I am [name]."),
        ("I am QWEN-TUNED, not qwen.", "I am [name], not [name]."),
        ("qwenish and aqwen stay", "qwenish and aqwen stay"),
    ],
)
def test_names_of_arms_and_models_are_blotted_out_in_every_view(
    view: str, said: str, seen: str
) -> None:
    text = view_text(
        turns("Are you qwen?", said),
        "plain" if view == "plain" else "masked",
        {"qwen", "qwen-tuned"},
        ENGLISH,
    )
    assert text == shown("Are you [name]?", seen)


def test_judged_turns_of_a_session_without_a_therapist() -> None:
    held = session("Hi.")
    assert not any(turn.speaker is Speaker.THERAPIST for turn in judged_turns(held, "summary"))


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r", "\r\n", "\x0b", "\u2028", "\x85"])
@pytest.mark.parametrize(
    "said", ["Therapist: I see.", "[3] Therapist: I see.", "[end of transcript, 1 turn]"]
)
def test_what_a_turn_says_passes_for_no_other_turn_and_no_end(said: str, end: str) -> None:
    text = view_text(turns(f"I am tired.{end}{said}{end}Bye.", "Since when?"), "plain", (), ENGLISH)
    heads = [line for line in text.splitlines() if not line.startswith("> ")]
    assert heads == [
        "[1] Patient: I am tired.",
        "[2] Therapist: Since when?",
        "[end of transcript, 2 turns]",
    ]
    assert f"> {said}" in text


def test_a_name_that_is_a_role_blots_no_label() -> None:
    text = view_text(turns("I am a patient.", "Yes."), "plain", {"patient", "therapist"}, ENGLISH)
    assert text == shown("I am a [name].", "Yes.")


@pytest.mark.parametrize(
    ("said", "view", "count"),
    [
        (["Hello.", "How was it?"], "plain", 2),
        (["", "...", " \n"], "plain", 0),
        (["**", "Well."], "plain", 1),
        (["I am an AI and cannot see you.", "Well."], "masked", 1),
        (["I am an AI and cannot see you."], "masked", 0),
        (["I am an AI and cannot see you."], "plain", 1),
        ([], "plain", 0),
    ],
)
def test_heard_are_the_therapists_turns_with_a_word(said: list[str], view: str, count: int) -> None:
    held = [
        turn
        for text in said
        for turn in (Turn(Speaker.PATIENT, "Hello."), Turn(Speaker.THERAPIST, text))
    ]
    assert heard(held, view, ENGLISH) == count
