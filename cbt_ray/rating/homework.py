"""Homework in a transcript: found by rules that are data, so that a session can be shown as if
nobody had spoken of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from cbt_ray.prompts import Prompts
from cbt_ray.reading import read_fields
from cbt_ray.reading.once import once
from cbt_ray.study.block import Block, Patterns
from cbt_ray.study.complaint import refusal

FILE = "probe/homework.yaml"
_BREAK = re.compile(r"((?<=[.!?])(?<!\d\.)\s+|\s*\n+\s*)")
"""Between two sentences or lines; not behind the number of a list's entry."""
_MARK = re.compile(r"^(?:(?P<bullet>[-*+•])|(?P<number>\d+[.)])|(?P<letter>[a-z][.)]))\s")
"""How an entry of a list begins."""


class _File(Block):
    """probe/homework.yaml."""

    names: Patterns
    reviews: Patterns
    tasks: Patterns
    times: Patterns
    follows: Patterns
    reach: int = Field(ge=0, le=1000)
    """Sentences."""


@dataclass(frozen=True)
class HomeworkRules:
    """Patterns of sentences on homework; see prompts/en/probe/homework.yaml."""

    names: re.Pattern[str]
    reviews: re.Pattern[str]
    tasks: re.Pattern[str]
    times: re.Pattern[str]
    follows: re.Pattern[str]
    reach: int

    def without(self, text: str) -> tuple[str, int]:
        """The text without its sentences on homework, and how many went."""
        pieces = _BREAK.split(text)
        sentences, breaks = pieces[::2], [*pieces[1::2], ""]
        gone = self.of(sentences)
        kept = "".join(s + b for s, b, out in zip(sentences, breaks, gone, strict=True) if not out)
        return kept.strip(), sum(gone)

    def of(self, sentences: Sequence[str]) -> list[bool]:
        """Which sentences of one turn are on homework."""
        found: list[bool] = []
        near = 0
        heading: str | None = (
            None  # the mark of the heading of a list that goes; None: there is none
        )
        for sentence in sentences:
            mark = _mark(sentence)
            if heading is not None and mark in ("", heading):
                # the list is over: no entry, or an entry of the list that its heading stands in
                heading = None
            itself = self.is_homework(sentence)
            found.append(
                itself or heading is not None or (near > 0 and bool(self.follows.search(sentence)))
            )
            near = self.reach if itself else near - 1
            if found[-1] and heading is None and sentence.rstrip().endswith(":"):
                heading = mark
        return found

    def is_homework(self, sentence: str) -> bool:
        """Whether a sentence is on homework whatever stands around it."""
        alone = self.names.search(sentence) or self.reviews.search(sentence)
        return bool(alone or (self.tasks.search(sentence) and self.times.search(sentence)))


def _mark(sentence: str) -> str:
    """`bullet`, `number` or `letter` where a line is an entry of a list, else empty."""
    match = _MARK.match(sentence)
    return (match.lastgroup or "") if match else ""


def load_homework(prompts: Prompts) -> HomeworkRules:
    """Read the rules; raises InputError naming file and field."""
    return _read(prompts.path(FILE))


@once
def _read(path: Path) -> HomeworkRules:
    try:
        file = _File.model_validate(read_fields(path))
    except ValidationError as error:
        raise refusal(error, _File, f"{path}: ") from None
    names, reviews, tasks, times, follows = map(
        _one_of, (file.names, file.reviews, file.tasks, file.times, file.follows)
    )
    return HomeworkRules(names, reviews, tasks, times, follows, file.reach)


def _one_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)
