"""Preference pairs of a session."""

from __future__ import annotations

from typing import Any

from cbt_ray.llm.request import Finish
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import PLAIN, Form
from cbt_ray.therapy.dialogue import FilledRole
from cbt_ray.therapy.pair import Choice, choices
from cbt_ray.therapy.session import Session, Speaker, Turn
from tests.therapy.scripts import Script, reply, session
from tests.therapy.spoken import WORDS
from tests.therapy.test_form import KEPT, REASONED, SECRET

ROLE = Role(endpoint="script", attempts=2)
SESSION = session("I slept badly.", "What kept you awake?", "My son.", "What about him?")
THOUGHT = Session(
    "Teresa",
    1,
    "assessment",
    "",
    (
        Turn(Speaker.PATIENT, "I slept badly."),
        Turn(Speaker.THERAPIST, "What about your son?", (("thinking", SECRET),)),
        Turn(Speaker.PATIENT, "He moved."),
        Turn(Speaker.THERAPIST, "Hello."),
    ),
    "",
)


def made(
    rejected: Script, chosen: Script | None = None, form: Form = PLAIN, held: Session = SESSION
) -> tuple[list[Choice], dict[str, int]]:
    good = FilledRole(ROLE, chosen) if chosen else None
    return choices(held, "You are Nova.", form, good, FilledRole(ROLE, rejected), WORDS, 3)


def test_the_courses_own_answer_is_chosen_in_the_context_that_it_had() -> None:
    rejected = Script(["Cheer up.", "Never mind."])
    found, left_out = made(rejected)
    assert found == [
        Choice(1, "What kept you awake?", "Cheer up."),
        Choice(3, "What about him?", "Never mind."),
    ]
    assert left_out == {}
    asked = [[(m.role, m.content) for m in request.messages] for request in rejected.requests]
    assert asked[0] == [("system", "You are Nova."), ("user", "I slept badly.")]
    assert asked[1][2:] == [("assistant", "What kept you awake?"), ("user", "My son.")]
    assert len({request.seed for request in rejected.requests}) == 2


def test_another_models_answer_is_chosen_where_one_is_named() -> None:
    found, _ = made(Script(["Cheer up."]), Script(["Tell me more.", "What else?"]))
    assert [choice.chosen for choice in found] == ["Tell me more.", "What else?"]


def test_a_chosen_answer_keeps_the_form_and_a_rejected_one_stays_as_it_is() -> None:
    found, left_out = made(Script(["No label."]), form=REASONED, held=THOUGHT)
    assert found == [Choice(1, KEPT, "No label.")]
    assert left_out == {"no_form": 1}, "the turn that lacks its thought"
    missed: list[Any] = ["No label.", "Answer: b", KEPT]
    found, left_out = made(Script(["Bad."]), Script(missed), REASONED)
    assert ([choice.turn for choice in found], left_out) == ([3], {"no_form": 1})


def test_what_makes_no_pair_is_counted() -> None:
    first = Session("Teresa", 1, "assessment", "", (Turn(Speaker.THERAPIST, "Hi."),), "")
    assert made(Script(["Hm."]), held=first) == ([], {"unasked": 1}), "the patient said nothing yet"
    found, left_out = made(Script(["What kept you awake?", ""]))
    assert (found, left_out) == ([], {"alike": 1, "empty": 1})
    cut = Script([reply("Tell me", Finish.LENGTH)])
    assert made(Script(["Bad."]), cut, REASONED)[1] == {"cut": 2}
    assert made(cut)[0][0].rejected == "Tell me", "what is rejected need not end"
