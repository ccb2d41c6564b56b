"""A generated session held by two writers, turn by turn, each turn read by a critic
(`courses.write: turns`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from cbt_ray.errors import ModelFailure
from cbt_ray.llm.request import Finish, Message, Reply, Request
from cbt_ray.prompts import Prompts
from cbt_ray.study.endpoint import Role
from cbt_ray.study.form import Form
from cbt_ray.study.protocol import Courses
from cbt_ray.therapy.answer import ask_until, read_json, read_text
from cbt_ray.therapy.checks import fault_of_turn
from cbt_ray.therapy.course import Brief
from cbt_ray.therapy.dialogue import FilledRole, summarise
from cbt_ray.therapy.form import read_form
from cbt_ray.therapy.form_json import misquoted, schema_of
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.reply_schema import bounded, record
from cbt_ray.therapy.session import Session, Speaker, Turn, transcript
from cbt_ray.unit import seed_of

THERAPIST_PROMPTS = ("write_therapist.j2",)
PATIENT_PROMPTS = ("write_patient.j2", "write_begin.j2")
CRITIC_PROMPTS = ("critic.j2", "critic_request.j2", "revise.j2")
SAID = "text"
"""The one field of a reply that has no form."""
ACCEPTED, REVISED, UNMENDED = "accepted", "revised", "unmended"
"""What became of a turn that the critic read."""


@dataclass(frozen=True)
class Writers:
    """Who writes the two sides, and who reads them, if anybody."""

    therapist: FilledRole
    patient: FilledRole
    critic: FilledRole | None

    def of(self, speaker: Speaker) -> FilledRole:
        """The writer of a side."""
        return self.therapist if speaker is Speaker.THERAPIST else self.patient


@dataclass(frozen=True)
class Written:
    """A session, how often which fault sent a turn back, and the critic's verdicts by side."""

    session: Session
    sent_back: dict[str, int]
    verdicts: dict[str, dict[str, int]]


def write_turns(
    brief: Brief, courses: Courses, form: Form, prompts: Prompts, writers: Writers, seed: int
) -> Written:
    """Have both sides written in turn, the patient's first, and summed up where a session follows.

    A case that is given is the patient's first turn.

    Raises ModelFailure with the commonest fault of a turn that stays invalid after
    `courses.attempts`, or `critic` where a turn is not accepted after `courses.revisions`.
    """
    talk = _Talk(brief, courses, form, prompts, writers, seed)
    for speaker in ([Speaker.PATIENT, Speaker.THERAPIST] * courses.exchanges)[len(talk.turns) :]:
        talk.add(speaker)
    session = Session(
        *(brief.patient, brief.number, brief.phase.name, brief.opening, tuple(talk.turns), "")
    )
    if brief.number < brief.sessions:
        chars = courses.summary_chars
        summary = summarise(session, chars, prompts, writers.therapist, seed)
        session = replace(session, summary=summary)
    verdicts = {side: dict(found) for side, found in talk.verdicts.items()}
    return Written(session, dict(talk.sent_back), verdicts)


def request_texts(
    brief: Brief, courses: Courses, form: Form, prompts: Prompts
) -> dict[Speaker, str]:
    """The system prompts of both writers."""
    about: dict[str, Any] = {
        **{"patient": brief.patient, "narrative": brief.narrative, "opening": brief.opening},
        **{"session": brief.number, "sessions": brief.sessions, "phase": brief.phase},
        **{"turn_chars": courses.turn_chars, "parts": form.parts},
    }
    return {
        Speaker.THERAPIST: prompts.render("write_therapist.j2", **about),
        Speaker.PATIENT: prompts.render("write_patient.j2", **about),
    }


class _Talk:
    """A session while it is written."""

    def __init__(
        self,
        brief: Brief,
        courses: Courses,
        form: Form,
        prompts: Prompts,
        writers: Writers,
        seed: int,
    ) -> None:
        self._courses, self._form, self._prompts = courses, form, prompts
        self._brief, self._writers, self._seed = brief, writers, seed
        self._language = load_language(prompts)
        self._systems = request_texts(brief, courses, form, prompts)
        self.turns = [Turn(Speaker.PATIENT, brief.case)] if brief.case else []
        self.sent_back: Counter[str] = Counter()
        self.verdicts: dict[str, Counter[str]] = {}

    def add(self, speaker: Speaker) -> None:
        """Have the next turn written, read by the critic, and mended as often as is allowed."""
        messages = self._messages(speaker)
        turn, text = self._written(speaker, messages, 0)
        for revision in range(1, self._courses.revisions + 2):
            feedback = self._feedback(speaker, turn, revision)
            if feedback is None:
                return self._take(turn, REVISED if revision > 1 else ACCEPTED)
            if revision > self._courses.revisions:
                break
            asked = self._prompts.render("revise.j2", feedback=feedback)
            messages = [*messages, Message("assistant", text), Message("user", asked)]
            turn, text = self._written(speaker, messages, revision)
        if self._courses.unmended == "reject":
            said = f"turn {len(self.turns) + 1} of session {self._brief.number}: {feedback}"
            raise ModelFailure("critic", said)
        return self._take(turn, UNMENDED)

    def _take(self, turn: Turn, verdict: str) -> None:
        self.turns.append(turn)
        if self._writers.critic is not None:
            self.verdicts.setdefault(turn.speaker, Counter())[verdict] += 1

    def _messages(self, speaker: Speaker) -> list[Message]:
        """The talk as a writer sees it: its own turns are the assistant's, what was hidden in them
        is left out.
        """
        messages = [Message("system", self._systems[speaker])]
        if speaker is Speaker.PATIENT:
            messages.append(Message("user", self._prompts.render("write_begin.j2")))
        for turn in self.turns:
            own = turn.speaker is speaker
            messages.append(Message("assistant" if own else "user", turn.text))
        return messages

    def _written(
        self, speaker: Speaker, messages: list[Message], revision: int
    ) -> tuple[Turn, str]:
        """A valid turn, and the reply that it was read from."""
        writer = self._writers.of(speaker)
        seed = seed_of(self._seed, len(self.turns), revision)
        schema = self._schema(speaker, writer.role)
        request = Request(tuple(messages), writer.role.sampling, seed, schema)

        def read(reply: Reply) -> tuple[Turn, str]:
            return self._read(speaker, reply), reply.text.strip()

        try:
            answer = ask_until(writer.ask, request, self._courses.attempts, read)
        except ModelFailure as failure:
            where = f"turn {len(self.turns) + 1} of session {self._brief.number}"
            raise ModelFailure(failure.reason, f"{where}: {failure}") from None
        self.sent_back.update(answer.useless)
        return answer.value

    def _in_json(self, speaker: Speaker) -> bool:
        """Whether a turn is learned as the JSON that it is written in."""
        return speaker is Speaker.THERAPIST and self._form.written == "json"

    def _schema(self, speaker: Speaker, role: Role) -> dict[str, Any]:
        said, hidden = self._courses.turn_chars, self._courses.hidden_chars
        if self._in_json(speaker):
            return schema_of(self._form, role, self._language, self.turns[-1].text)
        if speaker is Speaker.PATIENT or not self._form.parts:
            return record({SAID: bounded(said, role, self._language)})
        return record(
            {
                part.name: bounded(said if part.shown else hidden, role, self._language)
                for part in self._form.parts
            }
        )

    def _read(self, speaker: Speaker, reply: Reply) -> Turn:
        """A turn of a reply that is of use."""
        turn = self._of_json(reply) if self._in_json(speaker) else self._turn(speaker, reply)
        before = [one for one in self.turns if one.speaker is speaker]
        fault = fault_of_turn(turn, before, self._courses, self._language.course)
        if fault is not None:
            raise ModelFailure(fault)
        return turn

    def _of_json(self, reply: Reply) -> Turn:
        """A therapist's turn as it is learned: it keeps its form and quotes what was said."""
        text = read_text(reply)
        if reply.finish is Finish.LENGTH:
            raise ModelFailure("cut")
        formed = read_form(self._form, text)
        fault = formed.missed or misquoted(self._form, text, self.turns[-1].text)
        if fault is not None:
            raise ModelFailure(fault)
        return Turn(Speaker.THERAPIST, formed.said, formed.hidden)

    def _turn(self, speaker: Speaker, reply: Reply) -> Turn:
        """A turn of a reply's fields."""
        value = read_json(reply)
        parts = self._form.parts if speaker is Speaker.THERAPIST else ()
        names = [part.name for part in parts] or [SAID]
        texts = {name: value.get(name) for name in names}
        if not all(isinstance(text, str) and text.strip() for text in texts.values()):
            raise ModelFailure("malformed", "a part of the turn is missing")
        said = {name: str(text).strip() for name, text in texts.items()}
        hidden = tuple((part.name, said.pop(part.name)) for part in parts if not part.shown)
        return Turn(speaker, "\n\n".join(said.values()), hidden)

    def _feedback(self, speaker: Speaker, turn: Turn, revision: int) -> str | None:
        """What the critic wants mended in a turn; None where it accepts it, or there is none."""
        critic = self._writers.critic
        if critic is None:
            return None
        request = Request(
            tuple(self._to_critic(speaker, turn)),
            critic.role.sampling,
            seed_of(self._seed, len(self.turns), revision, "critic"),
            record(
                {
                    "verdict": {"type": "string", "enum": ["accept", "revise"]},
                    "feedback": bounded((1, 1000), critic.role, self._language),
                }
            ),
        )

        def read(reply: Reply) -> str | None:
            value = read_json(reply)
            verdict, feedback = value.get("verdict"), value.get("feedback")
            if verdict not in ("accept", "revise") or not isinstance(feedback, str):
                raise ModelFailure("malformed", "no verdict")
            return None if verdict == "accept" else feedback.strip()

        return ask_until(critic.ask, request, critic.role.attempts, read).value

    def _to_critic(self, speaker: Speaker, turn: Turn) -> list[Message]:
        words = self._language.transcript
        told = {"speaker": speaker.value, "patient": self._brief.patient}
        system = self._prompts.render("critic.j2", narrative=self._brief.narrative, **told)
        asked = self._prompts.render(
            "critic_request.j2",
            transcript=transcript(self.turns, words) if self.turns else "",
            turn=turn.text,
            hidden=[{"name": name, "text": text} for name, text in turn.hidden],
            **told,
        )
        return [Message("system", system), Message("user", asked)]
