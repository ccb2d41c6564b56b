"""A session of a course held by two writers, with a critic."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Request
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import PLAIN, Form
from cbt_ray.study.protocol import Courses
from cbt_ray.therapy.course import Brief
from cbt_ray.therapy.dialogue import FilledRole
from cbt_ray.therapy.session import Speaker
from cbt_ray.therapy.turnwise import Writers, Written, write_turns
from tests.study.example import loaded
from tests.therapy.scripts import Answer, Script, as_json
from tests.therapy.test_form import REASONED, SECRET

ROLE = Role(endpoint="script", attempts=3)
PATIENT = [{"text": f"I stayed in bed again on day {n}."} for n in range(99)]
THERAPIST = [{"text": f"What went through your mind on day {n}?"} for n in range(99)]
THINKING = [{"thinking": f"{SECRET} {n}", "answer": one["text"]} for n, one in enumerate(THERAPIST)]


def verdict(accept: bool, feedback: str = "Fine.") -> str:
    return as_json({"verdict": "accept" if accept else "revise", "feedback": feedback})


class Cast:
    """Two writers and, if it is given answers, a critic."""

    def __init__(
        self,
        therapist: list[Any] = THERAPIST,
        patient: list[Any] = PATIENT,
        critic: list[Answer] | None = None,
    ) -> None:
        self.therapist = Script(map(self._said, therapist))
        self.patient = Script(map(self._said, patient))
        self.critic = None if critic is None else Script(critic)

    def write(
        self, form: Form = PLAIN, number: int = 1, sessions: int = 1, **changes: Any
    ) -> Written:
        given = {"sessions": sessions, "write": "turns", "exchanges": 3, "attempts": 3}
        courses = Courses.model_validate(given | changes)
        brief = Brief("Alex Moreau", "A baker.", number, sessions, loaded().phase_of(1), "")
        critic = FilledRole(ROLE, self.critic) if self.critic else None
        writers = Writers(FilledRole(ROLE, self.therapist), FilledRole(ROLE, self.patient), critic)
        return write_turns(brief, courses, form, Prompts(), writers, 5)

    def _said(self, answer: Any) -> Answer:
        return as_json(answer) if isinstance(answer, dict) else answer


def told(request: Request) -> str:
    return "\n".join(message.content for message in request.messages)


def test_the_patient_begins_and_both_take_turns() -> None:
    cast = Cast()
    made = cast.write()
    assert [turn.speaker for turn in made.session.turns] == [*Speaker] * 3
    assert (made.sent_back, made.verdicts, made.session.summary) == ({}, {}, "")
    assert [m.role for m in cast.therapist.requests[1].messages] == [
        *("system", "user", "assistant", "user"),
    ]
    assert [m.role for m in cast.patient.requests[1].messages] == [
        *("system", "user", "assistant", "user"),
    ]
    assert "A baker." in cast.patient.requests[0].messages[0].content
    assert "A baker." not in told(cast.therapist.requests[0])


def test_what_is_hidden_is_kept_and_read_by_the_critic_alone() -> None:
    cast = Cast(THINKING, critic=[verdict(True)])
    made = cast.write(REASONED)
    spoken = made.session.turns_of(Speaker.THERAPIST)
    assert [turn.hidden for turn in spoken] == [(("thinking", f"{SECRET} {n}"),) for n in range(3)]
    assert [turn.text for turn in spoken] == [one["text"] for one in THERAPIST[:3]]
    writers = [*cast.therapist.requests, *cast.patient.requests]
    assert all(SECRET not in told(request) for request in writers)
    assert cast.critic is not None
    read = [SECRET in told(request) for request in cast.critic.requests]
    assert read == [False, True] * 3, "its own turn's, of the therapist's turns alone"
    assert made.verdicts == {"patient": {"accepted": 3}, "therapist": {"accepted": 3}}


def test_a_turn_is_written_anew_as_the_critic_says() -> None:
    critic: list[Answer] = [verdict(True), verdict(False, "Ask one thing."), verdict(True)]
    cast = Cast(critic=critic)
    made = cast.write()
    assert made.verdicts["therapist"] == {"revised": 1, "accepted": 2}
    asked = cast.therapist.requests[1].messages
    assert [m.role for m in asked] == ["system", "user", "assistant", "user"]
    assert "Ask one thing." in asked[-1].content
    assert made.session.turns[1].text == THERAPIST[1]["text"]
    assert "Ask one thing." not in told(cast.therapist.requests[2]), "only while it is mended"


def test_a_turn_that_is_never_accepted_ends_the_session_or_stays_as_is_said() -> None:
    never = [verdict(True), *[verdict(False, "Too long.")] * 99]
    cast = Cast(critic=list(never))
    with pytest.raises(ModelFailure, match="turn 2 of session 1: Too long") as caught:
        cast.write(revisions=2)
    assert caught.value.reason == "critic"
    assert cast.therapist.calls == 3
    kept = Cast(critic=list(never)).write(revisions=2, unmended="keep")
    assert kept.verdicts == {
        "patient": {"accepted": 1, "unmended": 2},
        "therapist": {"unmended": 3},
    }
    assert len(kept.session.turns) == 6


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        ("Therapist: What went through your mind?", "speaker_label"),
        ("- one\n- two, and all that there is", "markdown"),
        ("That is all for today. Goodbye!", "ended_early"),
        ("Why?", "length"),
    ],
)
def test_rules_send_a_turn_back_before_the_critic_reads_it(turn: str, fault: str) -> None:
    cast = Cast([{"text": turn}, *THERAPIST], critic=[verdict(True)])
    made = cast.write()
    assert made.sent_back == {fault: 1}
    assert cast.critic is not None
    assert turn not in "".join(map(told, cast.critic.requests))
    with pytest.raises(ModelFailure, match="turn 2 of session 1") as caught:
        Cast([{"text": turn}] * 9).write()
    assert caught.value.reason == fault


def test_what_was_said_before_is_sent_back() -> None:
    again = [THERAPIST[0], THERAPIST[0], *THERAPIST[1:]]
    assert Cast(again).write().sent_back == {"said_before": 1}


def test_a_session_that_another_one_follows_is_summed_up() -> None:
    summary = {"summary": "She stayed in bed, and they looked at her thoughts about it."}
    cast = Cast([*THERAPIST[:3], summary])
    made = cast.write(sessions=2, summary_chars=[20, 100])
    assert made.session.summary == summary["summary"]
    assert Cast().write(number=2, sessions=2).session.summary == ""
