"""A simulated session: the therapist model talks with the patient model until a stop rule holds.

A summariser sums it up.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from cbt_ray.errors import Infrastructure, ModelFailure
from cbt_ray.llm.request import Ask, Finish, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.study.block import Chars
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import REASONING, Form
from cbt_ray.study.patients import SimulatedPatient
from cbt_ray.study.protocol import Events, Phase, Sessions
from cbt_ray.therapy.answer import ask_until, read_json, read_text
from cbt_ray.therapy.form import Hidden, read_form
from cbt_ray.therapy.form_json import schema_of
from cbt_ray.therapy.language import Transcript, load_language
from cbt_ray.therapy.reply_schema import bounded, record
from cbt_ray.therapy.session import Session, Speaker, Turn, therapist_messages, transcript
from cbt_ray.therapy.stop import StopReason, end_mark, hear, stop_reason
from cbt_ray.unit import seed_of

FIRST_PROMPT = "patient_first.j2"
PATIENT_PROMPTS = ("patient.j2", "patient_begin.j2")
SUMMARISER_PROMPTS = ("summariser.j2", "summariser_request.j2")
EVENT = "event"
"""What happened to the patient before a turn, as the turn keeps it."""
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
    """A role with its model."""

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
    """A session that was held, why it stopped, how many turns were cut at the token limit, and how
    many replies missed the therapist's form, by how; those that were asked anew count, too.
    """

    session: Session
    stop: StopReason
    cut: int
    missed: dict[str, int]


def therapist_system(
    prompts: Prompts, form: Form, patient: str, number: int, sessions: int, phase: Phase, mark: str
) -> str:
    """The therapist's system prompt: this one function serves training and simulation."""
    about = {"patient": patient, "session": number, "sessions": sessions, "phase": phase}
    return prompts.render(form.prompt, **about, parts=form.parts, end_token=mark)


def hold(
    case: Case,
    rules: Sessions,
    prompts: Prompts,
    form: Form,
    therapist: FilledRole,
    patient: FilledRole | None,
    summariser: FilledRole | None,
) -> Dialogue:
    """Hold one session, and sum it up where another one follows; no patient model is needed where
    its first message is all that the patient says.

    A therapist that falls silent or refuses ends the session with that reason: an outcome, not an
    error. A patient model that does is a failure of the apparatus: ModelFailure. A summariser that
    fails leaves the chain owed: Infrastructure.
    """
    rules = load_language(prompts).sessions(rules)
    talk = _Talk(case, rules, prompts, form, therapist, patient)
    stop = talk.hold()
    session = Session(
        case.patient.name, case.number, case.phase.name, case.opening, tuple(talk.turns), ""
    )
    if summariser is not None and case.number < case.sessions:
        summary = summarise(session, rules.summary_chars, prompts, summariser, case.seed)
        session = replace(session, summary=summary)
    return Dialogue(session, stop, talk.cut, dict(talk.missed))


class _Talk:
    """A session while it is held: therapist and patient in turn until a rule ends it."""

    def __init__(
        self,
        case: Case,
        rules: Sessions,
        prompts: Prompts,
        form: Form,
        therapist: FilledRole,
        patient: FilledRole | None,
    ) -> None:
        self._case, self._rules, self._prompts, self._form = case, rules, prompts, form
        self._therapist, self._patient = therapist, patient
        self._words = load_language(prompts).transcript
        self._events = events_of(rules.events, case.seed)
        self._system = therapist_system(
            *(prompts, form, case.patient.name, case.number, case.sessions, case.phase),
            end_mark(rules),
        )
        self.turns = [Turn(Speaker.PATIENT, first_message(case, rules, prompts))]
        self.cut = 0
        self.missed: Counter[str] = Counter()

    def hold(self) -> StopReason:
        """Add turns; why the session ended."""
        while True:
            stop = self._therapist_speaks() or self._patient_speaks()
            if stop is not None:
                return stop

    def _therapist_speaks(self) -> StopReason | None:
        messages = therapist_messages(self._system, self._case.opening, self.turns, self._words)
        try:
            reply = _say(self._therapist, messages, self._seed, self._read, self._schema())
        except ModelFailure as failure:
            return _SILENCES.get(failure.reason, StopReason.THERAPIST_EMPTY)
        heard = hear(reply.text, self._rules)
        self.cut += reply.cut
        if heard.text:
            turn = Turn(Speaker.THERAPIST, heard.text, reply.hidden, reply.missed)
            self.turns.append(turn)
        return stop_reason(self.turns, heard.rule, self._rules) or (
            None if heard.text else StopReason.THERAPIST_EMPTY
        )

    def _patient_speaks(self) -> StopReason | None:
        if self._patient is None:
            raise ValueError("a session of more than two messages needs a patient")
        event = self._events.get(len(self.turns) // 2 + 1)
        told = ((EVENT, event),) if event else ()
        messages = _patient_messages(self._case, self._prompts, self.turns, self._words, event)
        reply = _say(self._patient, messages, self._seed, _said)
        self.cut += reply.cut
        self.turns.append(Turn(Speaker.PATIENT, reply.text, told))
        return stop_reason(self.turns, None, self._rules)

    def _schema(self) -> dict[str, Any] | None:
        """What a reply is held to; None where it is a text."""
        if self._form.written != "json":
            return None
        language, said = load_language(self._prompts), self.turns[-1].text
        return schema_of(self._form, self._therapist.role, language, said)

    @property
    def _seed(self) -> int:
        return self._case.seed + len(self.turns)

    def _read(self, reply: Reply) -> _Reply:
        """A therapist's reply by its form."""
        formed = read_form(self._form, read_text(reply))
        if formed.missed is not None:
            self.missed[formed.missed] += 1
        if not formed.said:
            raise ModelFailure("empty")
        thought = ((REASONING, reply.reasoning),) if reply.reasoning else ()
        whole = _whole_sentences(formed.said, reply)
        return replace(whole, hidden=(*thought, *formed.hidden), missed=formed.missed)


def first_message(case: Case, rules: Sessions, prompts: Prompts) -> str:
    """What the patient says first; no model is asked for it."""
    if rules.opener == "case":
        return case.patient.profile.strip()
    return prompts.render(FIRST_PROMPT, patient=case.patient.name, session=case.number)


def events_of(events: Events | None, seed: int) -> dict[int, str]:
    """What happens to the patient in a session, by exchange: drawn from the seed alone."""
    if events is None:
        return {}
    rng = random.Random(seed_of(seed, EVENT))
    first, last = events.exchanges
    drawn = ((number, rng.random(), rng.choice(events.texts)) for number in range(first, last + 1))
    return {number: text for number, chance, text in drawn if chance < events.share}


def summarise(
    session: Session, chars: Chars, prompts: Prompts, summariser: FilledRole, seed: int
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
        schema=record({"summary": bounded(chars, summariser.role, language)}),
    )

    def read(reply: Reply) -> str:
        summary = read_json(reply).get("summary")
        if not isinstance(summary, str) or not chars[0] <= len(summary) <= chars[1]:
            raise ModelFailure("summary_length")
        return summary

    try:
        return ask_until(summariser.ask, request, summariser.role.attempts, read).value
    except ModelFailure as failure:
        raise Infrastructure(
            f"summariser: {failure}; the session is held again", "summariser"
        ) from None


@dataclass(frozen=True)
class _Reply:
    """What one speaker says, and whether it was cut at the token limit."""

    text: str
    cut: bool
    hidden: Hidden = ()
    missed: str | None = None


def _say(
    who: FilledRole,
    messages: list[Message],
    seed: int,
    read: Callable[[Reply], _Reply],
    schema: dict[str, Any] | None = None,
) -> _Reply:
    """One turn."""
    request = Request(tuple(messages), who.role.sampling, seed_of(seed), schema, told=False)
    return ask_until(who.ask, request, who.role.attempts, read).value


def _said(reply: Reply) -> _Reply:
    """A reply that is said whole."""
    return _whole_sentences(read_text(reply), reply)


def _whole_sentences(text: str, reply: Reply) -> _Reply:
    """What was cut at the token limit ends with its last whole sentence, where it has one."""
    if reply.finish is not Finish.LENGTH:
        return _Reply(text, cut=False)
    ends = list(_SENTENCE_END.finditer(text))
    return _Reply(text[: ends[-1].end()] if ends else text, cut=True)


def _patient_messages(
    case: Case, prompts: Prompts, turns: list[Turn], words: Transcript, event: str | None
) -> list[Message]:
    """The conversation as the patient model sees it: it is the assistant, the therapist the
    user. What happens to the patient, now and before, follows the therapist's words.
    """
    name, profile = case.patient.name, case.patient.profile
    system = prompts.render("patient.j2", patient=name, profile=profile, opening=case.opening)
    messages = [Message("system", system), Message("user", prompts.render("patient_begin.j2"))]
    after = [*(dict(turn.hidden).get(EVENT) for turn in turns[1:]), event]
    for turn, happens in zip(turns, after, strict=True):
        block = f"\n\n{words.happened(happens)}" if happens else ""
        role: Literal["user", "assistant"] = (
            "assistant" if turn.speaker is Speaker.PATIENT else "user"
        )
        messages.append(Message(role, turn.text + block))
    return messages
