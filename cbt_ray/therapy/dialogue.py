"""A simulated session: the therapist model talks with the patient model until a stop rule holds.

A summariser sums it up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cbt_ray.errors import Infrastructure, ModelFailure
from cbt_ray.llm.request import Ask, Finish, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.protocol import Phase, Sessions, SimulatedPatient
from cbt_ray.therapy.answer import ask_until, read_json, read_text
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.reply_schema import bounded, record
from cbt_ray.therapy.session import Session, Speaker, Turn, therapist_messages, transcript
from cbt_ray.therapy.stop import StopReason, end_mark, hear, stop_reason
from cbt_ray.unit import seed_of

THERAPIST_PROMPT = "therapist.j2"
PROMPTS = (
    "patient.j2",
    "patient_first.j2",
    "patient_begin.j2",
    "summariser.j2",
    "summariser_request.j2",
)
_SILENCES = {
    "refused": StopReason.THERAPIST_REFUSED,
    "context_full": StopReason.CONTEXT_FULL,
    "cut": StopReason.THERAPIST_CUT,
}
"""Why a therapist's model has nothing to say, where it was not empty."""
_SENTENCE_END = re.compile(r"[.!?][\"')]?(?=\s|$)|[\u3002\uff01\uff1f]")
"""Full-width marks are followed by no blank."""


@dataclass(frozen=True)
class FilledRole:
    """A role with the model behind it."""

    role: Role
    ask: Ask


@dataclass(frozen=True)
class Case:
    """One session that is to be held: who, which, and what the patient brings along."""

    patient: SimulatedPatient
    number: int
    sessions: int
    phase: Phase
    opening: str
    seed: int


@dataclass(frozen=True)
class Dialogue:
    """A session that was held, why it stopped, how many turns were cut at the token limit."""

    session: Session
    stop: StopReason
    cut: int


def therapist_system(
    prompts: Prompts, prompt: str, patient: str, number: int, sessions: int, phase: Phase, mark: str
) -> str:
    """The therapist's system prompt: this one function serves training and simulation."""
    return prompts.render(
        prompt, patient=patient, session=number, sessions=sessions, phase=phase, end_token=mark
    )


def hold(
    case: Case,
    rules: Sessions,
    prompts: Prompts,
    prompt: str,
    therapist: FilledRole,
    patient: FilledRole,
    summariser: FilledRole,
) -> Dialogue:
    """Hold one session.

    A therapist that falls silent or refuses ends the session with that reason: an outcome, not an
    error. A patient model that does is a failure of the apparatus: ModelFailure. A summariser that
    fails leaves the chain owed: Infrastructure.
    """
    language = load_language(prompts)
    rules = language.sessions(rules)
    system = therapist_system(
        prompts, prompt, case.patient.name, case.number, case.sessions, case.phase, end_mark(rules)
    )
    turns = [
        Turn(
            Speaker.PATIENT,
            prompts.render("patient_first.j2", patient=case.patient.name, session=case.number),
        )
    ]
    cut = 0
    while True:
        try:
            reply, was_cut = _say(
                therapist,
                therapist_messages(system, case.opening, turns, language.transcript),
                case.seed + len(turns),
            )
        except ModelFailure as failure:
            stop = _SILENCES.get(failure.reason, StopReason.THERAPIST_EMPTY)
            break
        heard = hear(reply, rules)
        cut += was_cut
        if heard.text:
            turns.append(Turn(Speaker.THERAPIST, heard.text))
        found = stop_reason(turns, heard.rule, rules) or (
            None if heard.text else StopReason.THERAPIST_EMPTY
        )
        if found:
            stop = found
            break
        reply, was_cut = _say(
            patient, _patient_messages(case, prompts, turns), case.seed + len(turns)
        )
        cut += was_cut
        turns.append(Turn(Speaker.PATIENT, reply))
        found = stop_reason(turns, None, rules)
        if found:
            stop = found
            break
    session = Session(
        case.patient.name, case.number, case.phase.name, case.opening, tuple(turns), ""
    )
    return Dialogue(
        replace(session, summary=summarise(session, rules, prompts, summariser, case.seed)),
        stop,
        cut,
    )


def summarise(
    session: Session, rules: Sessions, prompts: Prompts, summariser: FilledRole, seed: int
) -> str:
    """Sum up a session for the next one.

    Raises Infrastructure where the summariser fails, so that the chain stays owed.
    """
    language = load_language(prompts)
    text = transcript(session.turns, language.transcript)
    request = Request(
        messages=(
            Message("system", prompts.render("summariser.j2")),
            Message(
                "user",
                prompts.render(
                    "summariser_request.j2",
                    session=session.number,
                    patient=session.patient,
                    transcript=text,
                ),
            ),
        ),
        sampling=summariser.role.sampling,
        seed=seed,
        schema=record({"summary": bounded(rules.summary_chars, summariser.role, language)}),
    )

    def read(reply: Reply) -> str:
        summary = read_json(reply).get("summary")
        if (
            not isinstance(summary, str)
            or not rules.summary_chars[0] <= len(summary) <= rules.summary_chars[1]
        ):
            raise ModelFailure("summary_length")
        return summary

    try:
        return ask_until(summariser.ask, request, summariser.role.attempts, read).value
    except ModelFailure as failure:
        raise Infrastructure(
            f"summariser: {failure}; the session is held again", "summariser"
        ) from None


def _say(who: FilledRole, messages: list[Message], seed: int) -> tuple[str, bool]:
    """One turn, and whether it was cut at the token limit (then it ends with its last whole
    sentence, where it has one).
    """
    request = Request(tuple(messages), who.role.sampling, seed_of(seed))

    def read(reply: Reply) -> tuple[str, bool]:
        text = read_text(reply)
        if reply.finish is not Finish.LENGTH:
            return text, False
        ends = list(_SENTENCE_END.finditer(text))
        return (text[: ends[-1].end()] if ends else text), True

    return ask_until(who.ask, request, who.role.attempts, read).value


def _patient_messages(case: Case, prompts: Prompts, turns: list[Turn]) -> list[Message]:
    """The conversation as the patient model sees it: it is the assistant, the therapist the
    user.
    """
    name, profile = case.patient.name, case.patient.profile
    system = prompts.render("patient.j2", patient=name, profile=profile, opening=case.opening)
    messages = [Message("system", system), Message("user", prompts.render("patient_begin.j2"))]
    messages += [
        Message("assistant" if turn.speaker is Speaker.PATIENT else "user", turn.text)
        for turn in turns
    ]
    return messages
