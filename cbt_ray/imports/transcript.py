"""A session as a line of JSON: the form that `data` writes, and anybody can.

docs/import.md describes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cbt_ray.errors import InputError
from cbt_ray.reading import loads, read_text
from cbt_ray.study.block import Block, Name
from cbt_ray.study.complaint import refusal
from cbt_ray.therapy.session import Speaker, Turn
from cbt_ray.therapy.stop import StopReason

LARGEST = 1 << 30
"""Bytes of a file of sessions."""
SHOWN = 20
"""Problems that are said of one file."""
Text = Annotated[str, Field(max_length=1_000_000)]


def _plain(value: Any) -> Any:
    """A speaker in any case."""
    return value.strip().lower() if isinstance(value, str) else value


class Said(BaseModel):
    """One turn. No block: there are many, and none has numbers to look at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speaker: Annotated[Speaker, BeforeValidator(_plain)]
    text: Text
    hidden: tuple[tuple[Name, Text], ...] = ()
    """What was written beside it and not said, such as a thought: name and text."""
    missed: Annotated[str, Field(max_length=60)] | None = None
    """How the reply missed its form, if so."""


class Held(Block):
    """One session that somebody held, or wrote."""

    ours: ClassVar[frozenset[str]] = frozenset(
        {"key", "phase", "cut", "missed", "seed", "sent_back"}
    )
    """What `data` writes beside these fields, and an import makes anew."""

    patient: str = Field(min_length=1, max_length=200)
    """The patient's name."""
    number: int = Field(1, ge=1, le=1000)
    """Which session of the patient's it is."""
    turns: tuple[Said, ...] = Field(min_length=1, max_length=10_000)
    opening: Text = ""
    """The summary of the session before, if the patient began with one."""
    summary: Text = ""
    """This session's own."""
    source: Mapping[str, str] = {}
    """Where it is from: a file, its digest, a commit."""
    remarks: tuple[str, ...] = ()
    """What is out of the ordinary about it."""

    @property
    def said(self) -> tuple[Turn, ...]:
        """The turns."""
        return tuple(Turn(turn.speaker, turn.text, turn.hidden, turn.missed) for turn in self.turns)

    @property
    def place(self) -> tuple[str | int, ...]:
        """What no other line of a file may have."""
        raise NotImplementedError

    @property
    def origin(self) -> dict[str, Any]:
        """What its unit's provenance says of it."""
        found = {"source": dict(self.source), "remarks": list(self.remarks)}
        return {name: value for name, value in found.items() if value}


class Transcript(Held):
    """A session of a therapist who is compared. Of one name is one patient."""

    ours: ClassVar[frozenset[str]] = Held.ours | {"patient_id"}

    arm: Name
    """The therapist."""
    replicate: int = Field(1, ge=1, le=1000)
    """Which course of sessions of the patient with this therapist it belongs to."""
    stop: StopReason = StopReason.OTHER
    """Why it ended."""
    details: Text = ""
    """The same in the words of its source."""
    factors: Mapping[str, str] = {}
    """Factor -> level of the arm; the same in all its sessions."""

    @property
    def place(self) -> tuple[str | int, ...]:
        """Therapist, patient, replicate and number."""
        return self.arm, self.patient, self.replicate, self.number


class Profile(Block):
    """Who a training patient is."""

    narrative: Text
    characteristics: Mapping[str, str] = {}


class CourseSession(Held):
    """A session of a course that is trained on."""

    patient_id: Annotated[str, Field(pattern=r"^p\d{2,6}$")]
    """Which training patient's it is: p01, p02, ..."""
    profile: Profile | None = None
    """The patient's, in one line of its course."""

    @property
    def place(self) -> tuple[str | int, ...]:
        """Training patient and number."""
        return self.patient_id, self.number


Line = TypeVar("Line", bound=Held)


def read_sessions(file: Path, kind: type[Line]) -> list[Line]:
    """The sessions of a file, a line each; empty lines count for nothing.

    Raises InputError with what is wrong, one line each: file, line, field, what was expected.
    """
    found: dict[tuple[str | int, ...], int] = {}
    lines: list[Line] = []
    problems: list[str] = []
    for number, line in enumerate(read_text(file, largest=LARGEST).split("\n"), 1):
        if not line.strip():
            continue
        try:
            one = _line(line, kind, f"{file}:{number}: ")
        except InputError as error:
            problems += error.problems
            continue
        if one.place in found:
            problems.append(
                f"{file}:{number}: expected each session once, line {found[one.place]} is the "
                f"same: {', '.join(map(str, one.place))}"
            )
        found.setdefault(one.place, number)
        lines.append(one)
    if len(problems) > SHOWN:
        problems[SHOWN:] = [f"{file}: {len(problems) - SHOWN} more"]
    if problems:
        raise InputError(*problems)
    if not lines:
        raise InputError(f"{file}: expected a session a line, found none")
    return lines


def _line(line: str, kind: type[Line], where: str) -> Line:
    try:
        value = loads(line)
    except (ValueError, InputError) as error:
        raise InputError(f"{where}expected JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}expected an object with patient and turns")
    try:
        return kind.model_validate(
            {name: field for name, field in value.items() if name not in kind.ours}
        )
    except ValidationError as error:
        raise refusal(error, kind, where) from None


def common_origin(lines: Sequence[Held]) -> str:
    """What all lines say of where they are from, in words."""
    first, *others = (one.source.items() for one in lines)
    common = [f"{name} {value}" for name, value in first if all((name, value) in o for o in others)]
    return f" ({', '.join(common)})" if common else ""


def remarks_on(lines: Iterable[Held]) -> Counter[str]:
    """What is out of the ordinary, and how often; looked for where a line does not say it."""
    found: Counter[str] = Counter()
    for one in lines:
        found.update(one.remarks or _odd([turn.speaker for turn in one.turns]))
    return found


def _odd(speakers: Sequence[Speaker]) -> list[str]:
    silent = [f"the {speaker} says nothing" for speaker in Speaker if speaker not in speakers]
    double = any(a == b for a, b in pairwise(speakers))
    return [*silent, *(["one speaker has two turns in a row"] if double else [])]
