"""A generated course: sessions in parts (20 in four in arXiv 2412.00251, Methods), by phase rules,
the summary carried on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Ask, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.protocol import Courses, Phase
from cbt_ray.therapy.answer import ask_until, read_json
from cbt_ray.therapy.checks import fault_of_part, fault_of_summary
from cbt_ray.therapy.language import Language, Part, load_language
from cbt_ray.therapy.reply_schema import bounded, record
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.unit import seed_of

PROMPTS = ("course.j2", "course_part.j2")


@dataclass(frozen=True)
class Brief:
    """What the generator is told about one session."""

    patient: str
    narrative: str
    number: int
    sessions: int
    phase: Phase
    opening: str
    case: str = ""
    """What the patient says first, word for word; empty where it is written, too."""


def write_session(
    brief: Brief, courses: Courses, prompts: Prompts, role: Role, ask: Ask, seed: int
) -> tuple[Session, dict[str, int]]:
    """Have a session written part by part.

    Answers the session and how often which fault sent a part back.

    Raises ModelFailure with the part's commonest fault where one stays invalid after
    `courses.attempts`.
    """
    language = load_language(prompts)
    system = prompts.render("course.j2", patient=brief.patient, narrative=brief.narrative)
    messages = [Message("system", system)]
    turns: list[Turn] = []
    sent_back: Counter[str] = Counter()
    summary = ""
    for part in range(1, len(language.course.parts) + 1):
        messages.append(Message("user", request_text(brief, courses, prompts, part)))
        schema = _schema(brief, courses, role, part, language)
        request = Request(tuple(messages), role.sampling, seed_of(seed, part), schema)

        def read(reply: Reply, part: int = part) -> tuple[str, list[Turn], str]:
            return _read_part(reply, part, brief, courses, language)

        try:
            answer = ask_until(ask, request, courses.attempts, read)
        except ModelFailure as failure:
            raise ModelFailure(
                failure.reason, f"part {part} of session {brief.number}: {failure}"
            ) from None
        text, spoken, written = answer.value
        summary = written or summary
        sent_back.update(answer.useless)
        messages.append(Message("assistant", text))
        turns += spoken
    return Session(
        brief.patient, brief.number, brief.phase.name, brief.opening, tuple(turns), summary
    ), dict(sent_back)


def request_text(brief: Brief, courses: Courses, prompts: Prompts, part: int) -> str:
    """What the generator is asked for a part (from 1)."""
    parts = load_language(prompts).course.parts
    return prompts.render(
        "course_part.j2",
        part=shown(parts[part - 1], part, brief.number),
        parts=len(parts),
        patient=brief.patient,
        session=brief.number,
        sessions=brief.sessions,
        phase=brief.phase,
        opening=brief.opening,
        pairs=courses.pairs,
        turn_chars=courses.turn_chars,
    )


def shown(part: Part, number: int, session: int) -> dict[str, Any]:
    """A part as its prompt sees it, in a session (from 1)."""
    return {
        "number": number,
        "content": part.content,
        "needs": [need.name for need in part.needed(session)],
        "farewell": part.farewell,
        "summary": part.summary,
    }


def _slots(courses: Courses) -> list[tuple[str, Speaker]]:
    """The names of a part's turns in order: patient_1, therapist_1, patient_2, ..."""
    return [
        (f"{speaker}_{n}", speaker)
        for n in range(1, courses.pairs + 1)
        for speaker in (Speaker.PATIENT, Speaker.THERAPIST)
    ]


def _schema(
    brief: Brief, courses: Courses, role: Role, part: int, language: Language
) -> dict[str, Any]:
    asked = language.course.parts[part - 1]
    given = asked.leads(brief.number) if courses.lead_ins else []
    leads = {f"{Speaker.THERAPIST}_{number}": lead for number, lead in enumerate(given, 1)}
    properties = {
        name: bounded(_room(courses, leads.get(name, "")), role, language, leads.get(name, ""))
        for name, _ in _slots(courses)
    }
    if asked.summary:
        properties["summary"] = bounded(courses.summary_chars, role, language)
    return record(properties)


def _room(courses: Courses, lead: str) -> tuple[int, int]:
    """Length of a turn: what is given as its first words does not count against it."""
    low, high = courses.turn_chars
    return low + len(lead), high + len(lead)


def _read_part(
    reply: Reply, part: int, brief: Brief, courses: Courses, language: Language
) -> tuple[str, list[Turn], str]:
    value = read_json(reply)
    texts = [(speaker, value.get(name)) for name, speaker in _slots(courses)]
    if not all(isinstance(text, str) for _, text in texts):
        raise ModelFailure("malformed", "a turn is missing")
    turns = [Turn(speaker, str(text).strip()) for speaker, text in texts]
    asked = language.course.parts[part - 1]
    summary = str(value.get("summary") or "").strip() if asked.summary else ""
    fault = fault_of_part(turns, part, brief.number, language.course)
    if fault is None and asked.summary:
        fault = fault_of_summary(summary, courses.summary_chars)
    if fault is not None:
        raise ModelFailure(fault)
    return reply.text.strip(), turns, summary
