"""A scale is data: a folder with scale.yaml (title, at least two words from worst to best) and one
file an item.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.reading import read_fields
from cbt_ray.study.block import Block
from cbt_ray.study.complaint import refusal

MOST = 200
"""Items of a scale, or words."""


def _text(value: str) -> str:
    if value != value.strip() or not value:
        raise ValueError("expected text without blanks around it")
    return value


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("expected each item once")
    return value


Text = Annotated[str, AfterValidator(_text)]
ItemId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]


@dataclass(frozen=True)
class Item:
    """One item of a scale."""

    id: str
    title: str
    question: str


@dataclass(frozen=True)
class Word:
    """One step of a scale with what it stands for."""

    word: str
    anchor: str


@dataclass(frozen=True)
class Scale:
    """Items, and words that score 1, 2, ... in their order."""

    name: str
    title: str
    instructions: str
    items: tuple[Item, ...]
    words: tuple[Word, ...]

    def score(self, word: str) -> int | None:
        """The score of a word (1 is the worst), or None where the scale has no such word."""
        folded = [step.word.casefold() for step in self.words]
        return (
            folded.index(word.strip().casefold()) + 1 if word.strip().casefold() in folded else None
        )


class _ItemFile(Block):
    """<item>.yaml."""

    title: Text
    question: Text


class _WordBlock(Block):
    """A word of scale.yaml."""

    word: Text
    anchor: Text


class _ScaleFile(Block):
    """scale.yaml."""

    title: Text
    instructions: Text
    items: Annotated[
        tuple[ItemId, ...], Field(min_length=1, max_length=MOST), AfterValidator(_each_once)
    ]
    words: tuple[_WordBlock, ...] = Field(min_length=2, max_length=MOST)
    """At least two: with one word nothing could differ, and every share of the range would be
    divided by zero."""


def scale_files(prompts: Prompts, name: str) -> list[str]:
    """The files that make up a scale, for their hashes."""
    return [
        f"{name}/scale.yaml",
        *(f"{name}/{item.id}.yaml" for item in load_scale(prompts, name).items),
    ]


def load_scale(prompts: Prompts, name: str) -> Scale:
    """Read a scale; raises InputError naming file and field, of all its files at once."""
    file = _read(prompts.path(f"{name}/scale.yaml"))
    items, problems = [], list[str]()
    for item in file.items:
        try:
            own = _read_item(prompts.path(f"{name}/{item}.yaml"))
            items.append(Item(item, own.title, own.question))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    words = tuple(Word(word.word, word.anchor) for word in file.words)
    return Scale(name, file.title, file.instructions, tuple(items), words)


@cache
def _read(path: Path) -> _ScaleFile:
    try:
        scale = _ScaleFile.model_validate(read_fields(path))
    except ValidationError as error:
        raise refusal(error, _ScaleFile, f"{path}: ") from None
    folded = [word.word.casefold() for word in scale.words]
    if len(set(folded)) != len(folded):
        raise InputError(f"{path}: words: expected each word once, whatever its case")
    return scale


@cache
def _read_item(path: Path) -> _ItemFile:
    try:
        return _ItemFile.model_validate(read_fields(path))
    except ValidationError as error:
        raise refusal(error, _ItemFile, f"{path}: ") from None
