"""A transcript as a line of JSON: the form that `export` writes, and anybody can.

docs/import.md describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from cbt_ray.errors import InputError
from cbt_ray.reading import loads, read_text
from cbt_ray.study.block import Block, Name
from cbt_ray.study.complaint import refusal
from cbt_ray.therapy.session import Speaker, Turn
from cbt_ray.therapy.stop import StopReason

LARGEST = 1 << 30
"""Bytes of a file of transcripts."""
OURS = ("key", "patient_id", "phase", "cut", "seed")
"""What `export` writes beside that, and an import makes anew."""
SHOWN = 20
"""Problems that are said of one file."""
Text = Annotated[str, Field(max_length=1_000_000)]


def _plain(value: Any) -> Any:
    """A speaker in any case."""
    return value.strip().lower() if isinstance(value, str) else value


class Said(Block):
    """One turn."""

    speaker: Annotated[Speaker, BeforeValidator(_plain)]
    text: Text


class Transcript(Block):
    """One session that somebody held."""

    arm: Name
    """The therapist."""
    patient: str = Field(min_length=1, max_length=200)
    """Of one name is one patient."""
    number: int = Field(1, ge=1, le=1000)
    """Which session of the patient with this therapist it is."""
    replicate: int = Field(1, ge=1, le=1000)
    """Which course of sessions of the patient with this therapist it belongs to."""
    turns: tuple[Said, ...] = Field(min_length=1, max_length=10_000)
    opening: Text = ""
    """The summary of the session before, if the patient began with one."""
    summary: Text = ""
    """This session's own."""
    stop: StopReason = StopReason.OTHER
    """Why it ended."""
    factors: Mapping[str, str] = {}
    """Factor -> level of the arm; the same in all its sessions."""

    @property
    def said(self) -> tuple[Turn, ...]:
        """The turns."""
        return tuple(Turn(turn.speaker, turn.text) for turn in self.turns)


def read_transcripts(file: Path) -> list[Transcript]:
    """The transcripts of a file, a line each; empty lines count for nothing.

    Raises InputError with what is wrong, one line each: file, line, field, what was expected.
    """
    found: dict[tuple[str, str, int, int], int] = {}
    transcripts: list[Transcript] = []
    problems: list[str] = []
    for number, line in enumerate(read_text(file, largest=LARGEST).splitlines(), 1):
        if not line.strip():
            continue
        try:
            one = _transcript(line, f"{file}:{number}: ")
        except InputError as error:
            problems += error.problems
            continue
        place = (one.arm, one.patient, one.replicate, one.number)
        if place in found:
            problems.append(
                f"{file}:{number}: expected each session once, line {found[place]} has the same "
                "arm, patient, replicate and number"
            )
        found.setdefault(place, number)
        transcripts.append(one)
    if len(problems) > SHOWN:
        problems[SHOWN:] = [f"{file}: {len(problems) - SHOWN} more"]
    if problems:
        raise InputError(*problems)
    if not transcripts:
        raise InputError(f"{file}: expected a transcript a line, found none")
    return transcripts


def _transcript(line: str, where: str) -> Transcript:
    try:
        value = loads(line)
    except (ValueError, InputError) as error:
        raise InputError(f"{where}expected JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}expected an object with arm, patient and turns")
    try:
        return Transcript.model_validate(
            {name: field for name, field in value.items() if name not in OURS}
        )
    except ValidationError as error:
        raise refusal(error, Transcript, where) from None
