"""A session and its turns, as both generated courses and simulations make them and every later
stage reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from cbt_ray.llm.request import Message
from cbt_ray.therapy.form import Hidden

if TYPE_CHECKING:
    from cbt_ray.therapy.language import Transcript


class Speaker(StrEnum):
    """Who speaks."""

    PATIENT = "patient"
    THERAPIST = "therapist"


@dataclass(frozen=True)
class Turn:
    """What one speaker says at a stretch."""

    speaker: Speaker
    text: str
    hidden: Hidden = ()
    """What the therapist wrote beside it and did not say; no other model reads it."""
    missed: str | None = None
    """How the reply missed its form, if so."""

    def to_json(self) -> dict[str, Any]:
        """As it is in a unit."""
        told: dict[str, Any] = {"speaker": self.speaker, "text": self.text}
        if self.hidden:
            told["hidden"] = [list(part) for part in self.hidden]
        return {**told, "missed": self.missed} if self.missed else told

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Turn:
        """Read back."""
        hidden = tuple((name, text) for name, text in value.get("hidden", ()))
        return cls(Speaker(value["speaker"]), value["text"], hidden, value.get("missed"))


@dataclass(frozen=True)
class Session:
    """One session: the patient speaks first, speakers alternate.

    `opening` is the summary of the session before, injected in front of the patient's first message
    as a block that is known as such (empty in a first session); it is no turn, so nothing has to be
    cut out of a turn later. `summary` is this session's own.
    """

    patient: str
    number: int
    phase: str
    opening: str
    turns: tuple[Turn, ...]
    summary: str

    def turns_of(self, speaker: Speaker) -> list[Turn]:
        """The turns of one speaker."""
        return [turn for turn in self.turns if turn.speaker is speaker]

    @property
    def words(self) -> int:
        """Words of all turns."""
        return sum(len(turn.text.split()) for turn in self.turns)

    def to_json(self) -> dict[str, Any]:
        """As it is in a unit."""
        return {**vars(self), "turns": [turn.to_json() for turn in self.turns]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Session:
        """Read back from a unit's content.

        Fields of the unit that are not the session's are left alone.
        """
        own = {name: value[name] for name in ("patient", "number", "phase", "opening", "summary")}
        return cls(
            **own,
            turns=tuple(Turn.from_json(turn) for turn in value["turns"]),
        )


def label(speaker: Speaker, words: Transcript) -> str:
    """What a transcript calls a speaker."""
    return words.patient if speaker is Speaker.PATIENT else words.therapist


def transcript(turns: Sequence[Turn], words: Transcript) -> str:
    """The text that a summariser or judge reads: turns numbered, what is said quoted, and its end
    marked.

    Whatever a turn says, it cannot pass for another turn or for the end: each of its further lines
    begins with `> `.
    """
    said = [
        f"[{number}] {label(turn.speaker, words)}: " + "\n> ".join(turn.text.splitlines() or [""])
        for number, turn in enumerate(turns, 1)
    ]
    return "\n".join([*said, words.ended(len(turns))])


def therapist_messages(
    system: str, opening: str, turns: Sequence[Turn], words: Transcript
) -> list[Message]:
    """The conversation as the therapist model sees it, in training and in simulation alike.

    The patient is the user, the therapist the assistant; the previous summary stands as a block in
    front of the first message.
    """
    messages = [Message("system", system)]
    for number, turn in enumerate(turns):
        block = f"{words.opened(opening)}\n\n" if number == 0 and opening else ""
        role: Literal["user", "assistant"] = (
            "user" if turn.speaker is Speaker.PATIENT else "assistant"
        )
        messages.append(Message(role, block + turn.text))
    return messages
