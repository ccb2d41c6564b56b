"""What the judge sees of a session."""

from __future__ import annotations

import pytest

from cbt_ray.rating.view import judged_turns, view_text
from cbt_ray.therapy.session import Speaker
from tests.therapy.scripts import session, turns

HELD = session("Hi, I'm Teresa.", "What happened?", "I slept badly.", "See you next week.", opening="Last time she wept.")


def test_summary_block_is_removed_and_nothing_else() -> None:
    judged = judged_turns(HELD, "summary")
    assert tuple(judged) == HELD.turns
    text = view_text(judged, "plain", ())
    assert "wept" not in text
    assert "[Summary" not in text
    assert (
        text
        == "Patient: Hi, I'm Teresa.\n\nTherapist: What happened?\n\nPatient: I slept badly.\n\nTherapist: See you next week."
    )


def test_strip_paper_removes_the_patients_first_and_the_therapists_last_turn() -> None:
    assert [turn.text for turn in judged_turns(HELD, "paper")] == ["What happened?", "I slept badly."]


def test_strip_paper_removes_the_therapists_last_turn_before_a_last_word_of_the_patient() -> None:
    held = session("Hi.", "What happened?", "I slept badly.", "Take care.", "Thanks.")
    assert [turn.text for turn in judged_turns(held, "paper")] == ["What happened?", "I slept badly.", "Thanks."]


@pytest.mark.parametrize(("texts", "left"), [(("Hi.",), []), (("Hi.", "Bye."), []), ((), [])])
def test_strip_paper_of_a_short_session(texts: tuple[str, ...], left: list[str]) -> None:
    assert judged_turns(session(*texts), "paper") == left


def masked(therapist: str, patient: str = "Hi.") -> str:
    return view_text(turns(patient, therapist), "masked", ())


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
    assert masked(said).split("Therapist: ")[1].split() == seen.split()


def test_masked_view_leaves_the_patients_sentences_alone_but_for_markup() -> None:
    assert (
        masked("What happened?", "It was a **crisis** at work.")
        == "Patient: It was a crisis at work.\n\nTherapist: What happened?"
    )


def test_plain_view_removes_no_markup_and_no_statement() -> None:
    said = "I am an AI. **What** happened?<|im_end|>"
    assert view_text(turns("Hi.", said), "plain", ()) == f"Patient: Hi.\n\nTherapist: {said}"


@pytest.mark.parametrize("view", ["plain", "masked"])
@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("I am Qwen.", "I am [name]."),
        ("I am QWEN-TUNED, not qwen.", "I am [name], not [name]."),
        ("qwenish and aqwen stay", "qwenish and aqwen stay"),
    ],
)
def test_names_of_arms_and_models_are_blotted_out_in_every_view(view: str, said: str, seen: str) -> None:
    text = view_text(turns("Are you qwen?", said), "plain" if view == "plain" else "masked", {"qwen", "qwen-tuned"})
    assert text == f"Patient: Are you [name]?\n\nTherapist: {seen}"


def test_judged_turns_of_a_session_without_a_therapist() -> None:
    held = session("Hi.")
    assert not any(turn.speaker is Speaker.THERAPIST for turn in judged_turns(held, "summary"))
