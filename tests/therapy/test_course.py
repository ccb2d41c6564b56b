"""A generated session: four parts, faults sent back, bounded attempts, the summary carried on."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.errors import Infrastructure, ModelFailure
from cbt_ray.llm.request import Request
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.protocol import Courses
from cbt_ray.therapy.course import Brief, write_session
from cbt_ray.therapy.session import Session, Speaker
from tests.study.example import loaded
from tests.therapy.scripts import REFUSED, Answer, Script, as_json, cut

STUDY = loaded()
COURSES = Courses(sessions=2, pairs=2, turn_chars=(5, 90), summary_chars=(20, 200), attempts=4)
SUMMARY = "They tested the thought that nobody would notice."
AGENDA = "Our agenda is sleep, and in an emergency call the emergency services."


def part(number: int, **changes: Any) -> str:
    value: dict[str, Any] = {
        "patient_1": f"I slept badly in part {number}.",
        "therapist_1": AGENDA,
        "patient_2": "I stayed in bed.",
        "therapist_2": f"What went through your mind in part {number}?",
    }
    return as_json(value | ({"summary": SUMMARY} if number == 4 else {}) | changes)


def write(
    script: Script, number: int = 1, opening: str = "", seed: int = 3
) -> tuple[Session, dict[str, int]]:
    phase = STUDY.phase_of(number)
    brief = Brief("Alex Moreau", "Alex broods.", number, 2, phase, opening)
    return write_session(brief, COURSES, Prompts(), Role(endpoint="script"), script, seed)


def answers(*before: Answer, at: int = 1) -> Script:
    """Good parts, with other answers before part `at`."""
    good: list[Answer] = [part(number) for number in range(1, 5)]
    return Script([*good[: at - 1], *before, *good[at - 1 :]])


def test_four_parts_make_a_session() -> None:
    script = answers()
    session, sent_back = write(script, 2, opening="Last time they met.")
    assert (script.calls, sent_back) == (4, {})
    assert [turn.speaker for turn in session.turns] == [Speaker.PATIENT, Speaker.THERAPIST] * 8
    assert [turn.text for turn in session.turns_of(Speaker.PATIENT)][::2] == [
        f"I slept badly in part {n}." for n in range(1, 5)
    ]
    assert (session.patient, session.number, session.phase) == ("Alex Moreau", 2, "middle")
    assert (session.opening, session.summary) == ("Last time they met.", SUMMARY)


def test_each_part_is_asked_for_behind_the_parts_before_it() -> None:
    script = answers()
    write(script)
    assert [len(request.messages) for request in script.requests] == [2, 4, 6, 8]
    assert script.requests[3].messages[2].content == part(1)
    for earlier, later in zip(script.requests, script.requests[1:], strict=False):
        assert later.messages[: len(earlier.messages)] == earlier.messages


def test_previous_summary_phase_and_narrative_stand_in_the_request() -> None:
    script = answers()
    write(script, 2, opening="Last time they met.")
    asked = "\n".join(message.content for message in script.requests[0].messages)
    for text in (
        "Last time they met.",
        "Test a thought.",
        "A thought record.",
        "Alex broods.",
        "Alex Moreau",
    ):
        assert text in asked


def schema_of(request: Request) -> dict[str, Any]:
    assert request.schema is not None
    return dict(request.schema)


def test_summary_is_asked_for_in_the_last_part_only() -> None:
    script = answers()
    write(script)
    assert ["summary" in schema_of(request)["required"] for request in script.requests] == [
        False,
        False,
        False,
        True,
    ]


BACK = (
    (part(1, therapist_2=""), 1, "empty"),
    (part(1, patient_2="Therapist: go on."), 1, "speaker_label"),
    (part(2, therapist_1="- sleep"), 2, "markdown"),
    (part(3, therapist_2="Take care!"), 3, "ended_early"),
    (part(1, therapist_1="Hello, in an emergency call."), 1, "no_agenda"),
    (part(1, therapist_1="Our agenda is sleep."), 1, "no_limits"),
    (part(4, summary=""), 4, "no_summary"),
    (part(4, summary="short"), 4, "summary_length"),
    (part(4, summary=None), 4, "no_summary"),
    (part(2, patient_1=None), 2, "malformed"),
    (part(2, patient_1=3), 2, "malformed"),
    ("[]", 2, "malformed"),
    ("no JSON", 2, "malformed"),
    ("", 1, "empty"),
    (REFUSED, 1, "refused"),
    (cut(part(1)), 1, "cut"),
)


@pytest.mark.parametrize(
    ("useless", "at", "reason"),
    BACK,
    ids=[f"part{at}-{reason}-{n}" for n, (_, at, reason) in enumerate(BACK)],
)
def test_faulty_part_is_sent_back_and_asked_for_anew(useless: Answer, at: int, reason: str) -> None:
    script = answers(useless, at=at)
    session, sent_back = write(script)
    assert (script.calls, sent_back) == (5, {reason: 1})
    assert len(session.turns) == 16
    first, again = script.requests[at - 1 : at + 1]
    assert first.messages == again.messages  # what was useless is not part of the conversation
    assert first.seed != again.seed


def test_json_in_a_fence_is_read() -> None:
    session, sent_back = write(
        Script([f"```json\n{part(1)}\n```", *(part(number) for number in (2, 3, 4))])
    )
    assert (len(session.turns), sent_back) == (16, {})


def test_session_is_rejected_for_its_commonest_fault_after_all_attempts() -> None:
    script = Script(
        [part(1), "", part(2, therapist_1="# x"), part(2, therapist_1="# x"), "no JSON", part(2)]
    )
    with pytest.raises(
        ModelFailure,
        match="part 2 of session 1: markdown: 4 attempts, 1 empty, 2 markdown, 1 malformed",
    ) as caught:
        write(script)
    assert caught.value.reason == "markdown"
    assert script.calls == 1 + COURSES.attempts


def test_last_attempt_counts() -> None:
    script = answers(*[""] * (COURSES.attempts - 1), at=4)
    _, sent_back = write(script)
    assert sent_back == {"empty": COURSES.attempts - 1}


def test_fault_of_the_world_passes_through() -> None:
    with pytest.raises(Infrastructure):
        write(answers(Infrastructure("time-out", "timeout"), at=3))


def test_same_seed_asks_the_same_and_another_seed_does_not() -> None:
    seeds = []
    for seed in (3, 3, 4):
        script = answers("")
        write(script, seed=seed)
        seeds.append([request.seed for request in script.requests])
    assert seeds[0] == seeds[1]
    assert not set(seeds[0]) & set(seeds[2])
    assert len(set(seeds[0])) == 5
