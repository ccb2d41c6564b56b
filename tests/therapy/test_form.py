"""The form of a reply: what is said, what is kept, how a reply misses it; and that nothing that is
hidden is ever sent.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from cbt_ray.llm.request import Finish, Reply
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import PLAIN, Form
from cbt_ray.study.protocol import Events
from cbt_ray.therapy.dialogue import EVENT, Case, Dialogue, FilledRole, events_of, hold
from cbt_ray.therapy.form import read_form, written
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Session, Speaker, Turn, transcript
from cbt_ray.therapy.stop import StopReason
from tests.study.example import loaded
from tests.therapy.scripts import Script, as_json, reply
from tests.therapy.test_dialogue import rules

STUDY = loaded()
REASONED = Form.model_validate(
    {
        "parts": [
            {"name": "thinking", "label": "Thinking:"},
            {"name": "answer", "label": "Answer:", "shown": True},
        ]
    }
)
SECRET = "She avoids the topic of her son altogether."
KEPT = f"Thinking:\n{SECRET}\nAnswer:\nWhat about your son?"


@pytest.mark.parametrize(
    ("text", "said", "hidden", "missed"),
    [
        (KEPT, "What about your son?", [("thinking", SECRET)], None),
        (" thinking: a\n ANSWER: b\nc", "b\nc", [("thinking", "a")], None),
        ("Hello. How are you?", "Hello. How are you?", [], "no_form"),
        ("", "", [], "no_form"),
        ("I keep thinking: no label.", "I keep thinking: no label.", [], "no_form"),
        ("Answer: b", "b", [], "no_thinking"),
        ("Thinking: a", "", [("thinking", "a")], "no_answer"),
        ("Answer: b\nThinking: a", "b", [("thinking", "a")], "order"),
        ("Thinking: a\nAnswer:", "", [("thinking", "a")], "empty_answer"),
        ("Thinking:\nAnswer: b", "b", [], "empty_thinking"),
        (
            "Well.\nThinking: a\nAnswer: b",
            "b",
            [("unlabelled", "Well."), ("thinking", "a")],
            "before",
        ),
        (
            "Thinking: a\nAnswer: b\nThinking: c\nAnswer: d",
            "b\n\nd",
            [("thinking", "a"), ("thinking", "c")],
            "repeated",
        ),
    ],
)
def test_a_reply_is_read_as_it_is(
    text: str, said: str, hidden: list[tuple[str, str]], missed: str | None
) -> None:
    formed = read_form(REASONED, text)
    assert (formed.said, list(formed.hidden), formed.missed) == (said, hidden, missed)


def test_what_is_written_in_form_is_read_back() -> None:
    hidden = (("thinking", SECRET),)
    text = written(REASONED, "What about your son?", hidden)
    assert text == KEPT
    formed = read_form(REASONED, text)
    assert (formed.said, formed.hidden, formed.missed) == ("What about your son?", hidden, None)


def test_a_label_that_begins_another_is_not_taken_for_it() -> None:
    form = Form.model_validate(
        {
            "parts": [
                {"name": "a", "label": "Answer"},
                {"name": "b", "label": "Answers:", "shown": True},
            ]
        }
    )
    formed = read_form(form, "Answer one\nAnswers: two")
    assert (formed.said, formed.hidden, formed.missed) == ("two", (("a", "one"),), None)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{"name": "a", "label": "A:"}], "expected one with `shown: true`"),
        ([{"name": "a", "label": "A:", "shown": True}, {"name": "a", "label": "B:"}], "each name"),
        ([{"name": "a", "label": "A:", "shown": True}, {"name": "b", "label": "a:"}], "each label"),
        ([{"name": "reasoning", "label": "R:", "shown": True}], "another name than reasoning"),
        ([{"name": "a", "label": "A:\nB:", "shown": True}], "expected one line"),
    ],
)
def test_forms_that_are_none(parts: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Form.model_validate({"parts": parts})


class Cast:
    """A session of a therapist who replies in a form."""

    def __init__(self, *replies: Any) -> None:
        self.therapist = Script(replies)
        self.patient = Script([f"I stayed in bed on day {n}." for n in range(9)])
        self.summariser = Script([as_json({"summary": "They looked at sleep and rest."})])

    def hold(self, number: int = 1, form: Form = REASONED, **changes: Any) -> Dialogue:
        role = Role(endpoint="script", attempts=2)
        case = Case(STUDY.patients.simulated[0], number, 2, STUDY.phase_of(number), "", 5)
        three = (self.therapist, self.patient, self.summariser)
        voices = [FilledRole(role, script) for script in three]
        return hold(case, rules(**changes), Prompts(), form, voices[0], voices[1], voices[2])

    @property
    def sent(self) -> str:
        """All that any model was told."""
        scripts = (self.therapist, self.patient, self.summariser)
        return "\n".join(
            message.content
            for script in scripts
            for request in script.requests
            for message in request.messages
        )


def test_what_is_hidden_is_kept_with_its_turn_and_never_sent() -> None:
    thought = Reply("Hello.", Finish.STOP, 1, 1, "m", reasoning="A model's own thought of her.")
    cast = Cast(KEPT, thought, "No label here.", KEPT)
    held = cast.hold(max_messages=8)
    turns = held.session.turns_of(Speaker.THERAPIST)
    assert [(turn.text, turn.hidden, turn.missed) for turn in turns] == [
        ("What about your son?", (("thinking", SECRET),), None),
        ("Hello.", (("reasoning", "A model's own thought of her."),), "no_form"),
        ("No label here.", (), "no_form"),
        ("What about your son?", (("thinking", SECRET),), None),
    ]
    assert held.missed == {"no_form": 2}
    assert SECRET not in cast.sent
    assert "own thought" not in cast.sent
    assert "Thinking:" not in cast.sent
    words = load_language(Prompts()).transcript
    assert SECRET not in transcript(held.session.turns, words)
    assert Session.from_json(held.session.to_json()) == held.session


def test_a_reply_that_says_nothing_is_asked_for_again_and_counted() -> None:
    held = Cast(f"Thinking: {SECRET}", KEPT, KEPT, KEPT, KEPT).hold(max_messages=2)
    assert held.missed == {"no_answer": 1}
    assert held.session.turns[-1].text == "What about your son?"
    silent = Cast(*[f"Thinking: {SECRET}"] * 2).hold()
    assert (silent.stop, silent.missed) == (StopReason.THERAPIST_EMPTY, {"no_answer": 2})


def test_a_cut_reply_ends_with_the_last_whole_sentence_of_what_is_said() -> None:
    cut = reply("Thinking: One. Two\nAnswer: Go on. And th", finish=Finish.LENGTH)
    held = Cast(cut).hold(max_messages=2)
    assert held.session.turns[-1] == Turn(Speaker.THERAPIST, "Go on.", (("thinking", "One. Two"),))
    assert held.cut == 1


def test_a_session_that_no_other_follows_is_not_summed_up() -> None:
    first, last = Cast(*[KEPT] * 4), Cast(*[KEPT] * 4)
    assert first.hold(1).session.summary
    assert not last.hold(2).session.summary
    assert (len(first.summariser.requests), len(last.summariser.requests)) == (1, 0)


EVENTS = Events(texts=("Your phone rings.", "It starts to rain."), share=0.5, exchanges=(2, 4))


def test_events_follow_from_the_seed_and_fall_into_their_exchanges() -> None:
    drawn = [events_of(EVENTS, seed) for seed in range(400)]
    assert drawn == [events_of(EVENTS, seed) for seed in range(400)]
    assert {number for found in drawn for number in found} == {2, 3, 4}
    assert {text for found in drawn for text in found.values()} == set(EVENTS.texts)
    assert sum(map(len, drawn)) / (400 * 3) == pytest.approx(0.5, abs=0.06)
    assert events_of(None, 1) == {}


def test_the_patient_alone_is_told_of_an_event_and_remembers_it() -> None:
    cast = Cast(*["Go on."] * 9)
    always = EVENTS.model_copy(update={"share": 1.0, "exchanges": (3, 3)})
    held = cast.hold(2, PLAIN, events=always, max_messages=8)
    told = [turn for turn in held.session.turns if turn.hidden]
    assert [held.session.turns.index(turn) for turn in told] == [4]
    ((name, event),) = told[0].hidden
    assert (name, event in EVENTS.texts) == (EVENT, True)
    asked = [[m.content for m in request.messages] for request in cast.patient.requests]
    assert [sum(event in text for text in texts) for texts in asked] == [0, 1, 1]
    for earlier, later in pairwise(asked):
        assert later[: len(earlier)] == earlier
    assert all(
        event not in m.content for request in cast.therapist.requests for m in request.messages
    )


@pytest.mark.parametrize("exchanges", [(1, 3), (4, 3), (2, 10_001)])
def test_events_of_no_exchange_are_refused(exchanges: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="expected \\[first, last\\]"):
        Events(texts=("a",), share=0.5, exchanges=exchanges)


def test_a_turn_that_lacks_a_part_is_written_by_nobody() -> None:
    assert written(PLAIN, "Hello.", (("thinking", SECRET),)) == "Hello."
    assert written(REASONED, "Hello.", ()) is None
