"""A scale is data: a folder with scale.yaml (title, words from worst to best) and one file an item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts


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
        return folded.index(word.strip().casefold()) + 1 if word.strip().casefold() in folded else None


def scale_files(prompts: Prompts, name: str) -> list[str]:
    """The files that make up a scale, for their hashes."""
    return [f"{name}/scale.yaml", *(f"{name}/{item}.yaml" for item in _read(prompts, f"{name}/scale.yaml")["items"])]


def load_scale(prompts: Prompts, name: str) -> Scale:
    """Read a scale; raises InputError naming file and field."""
    file = f"{name}/scale.yaml"
    document = _read(prompts, file)
    try:
        items = tuple(Item(item, **_read(prompts, f"{name}/{item}.yaml")) for item in document["items"])
        words = tuple(Word(**word) for word in document["words"])
        scale = Scale(name, document["title"], document["instructions"], items, words)
    except (KeyError, TypeError) as error:
        expected = "expected title, instructions, items (title, question) and words (word, anchor)"
        raise InputError(f"{prompts.path(file)}: {expected}: {error}") from None
    for field, found in (("items", [item.id for item in items]), ("words", [word.word.casefold() for word in words])):
        if not found or len(set(found)) != len(found):
            raise InputError(f"{prompts.path(file)}: {field}: expected at least one, and each once")
    return scale


def _read(prompts: Prompts, file: str) -> dict[str, Any]:
    return _mapping(prompts.path(file))


@cache
def _mapping(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected YAML: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a mapping")
    return document
