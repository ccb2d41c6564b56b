"""Homework in a transcript: found by rules that are data, so that a session can be shown as if nobody had spoken of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import yaml

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts

FILE = "probe/homework.yaml"
_BREAK = re.compile(r"((?<=[.!?])(?<!\d\.)\s+|\s*\n+\s*)")
"""Between two sentences or lines; not behind the number of a list's entry."""
_MARK = re.compile(r"^(?:(?P<bullet>[-*+•])|(?P<number>\d+[.)])|(?P<letter>[a-z][.)]))\s")
"""How an entry of a list begins."""
_FIELDS = ("names", "reviews", "tasks", "times", "follows")


@dataclass(frozen=True)
class HomeworkRules:
    """Patterns of sentences on homework; see prompts/probe/homework.yaml."""

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
        heading: str | None = None  # the mark of the heading of a list that goes; None: there is none
        for sentence in sentences:
            mark = _mark(sentence)
            if heading is not None and mark in ("", heading):
                heading = None  # the list is over: no entry, or an entry of the list that its heading stands in
            itself = self.is_homework(sentence)
            found.append(itself or heading is not None or (near > 0 and bool(self.follows.search(sentence))))
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
    path = prompts.path(FILE)
    return _read(path.read_text(), str(path))


@cache
def _read(text: str, name: str) -> HomeworkRules:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{name}: expected YAML: {error}") from None
    if not isinstance(document, dict) or set(document) != {*_FIELDS, "reach"}:
        raise InputError(f"{name}: expected exactly {', '.join(_FIELDS)} (lists of regular expressions) and reach (a number)")
    if not isinstance(document["reach"], int) or document["reach"] < 0:
        raise InputError(f"{name}: reach: expected a whole number of sentences, found {document['reach']!r}")
    return HomeworkRules(**{field: _pattern(document[field], f"{name}: {field}") for field in _FIELDS}, reach=document["reach"])


def _pattern(patterns: object, where: str) -> re.Pattern[str]:
    if not isinstance(patterns, list) or not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise InputError(f"{where}: expected a list of regular expressions, at least one")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"{where}: expected a regular expression, found {pattern!r} ({error})") from None
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)
