"""The base of every block of the study file, and the few types that blocks share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from cbt_ray.reading.trial import tried

Share = Annotated[float, Field(ge=0, le=1)]
LARGEST = 10**12
"""No number of a study file is larger: one that is was mistyped, and would keep a loop or a library
busy for ever."""
LONGEST_TEXT = 1_000_000
"""Characters that any length may ask for."""


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", value):
        raise ValueError("expected at most 31 lower-case letters, digits and hyphens")
    return value


def as_name(text: str) -> str:
    """A text as a name holds it, in lower case; empty where it has no letter or digit for one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:31].strip("-")


def _range(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1] <= LONGEST_TEXT:
        expected = f"[shortest, longest] with 1 <= shortest <= longest <= {LONGEST_TEXT:,}"
        raise ValueError(f"expected {expected}, found {list(value)}")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("expected a text that is not blank")
    return value


def pattern(value: str) -> str:
    """The text again, if it is a regular expression that is soon done with any text.

    ValueError otherwise.
    """
    try:
        compiled = re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"expected a regular expression, found {value[:60]!r} ({error})") from None
    if _REPEATED_GROUP.search(value) and (said := _takes_long(compiled)):
        raise ValueError(
            "expected a regular expression without repeats within repeats that fit the same "
            f"text, found {value[:60]!r} ({said[0]})"
        )
    return value


@lru_cache(10_000)
def _takes_long(compiled: re.Pattern[str]) -> list[str]:
    """Why an expression is not soon done, if so; a trial starts a process, so each has one only."""
    [said] = tried([lambda: _matched(compiled)])
    return said


_REPEATED_GROUP = re.compile(r"\)[*+{?]")
"""Only what repeats a group can take a time that doubles with each character."""


def _matched(compiled: re.Pattern[str]) -> list[str]:
    """Nothing, after texts of which almost all fits: those that take the longest."""
    pieces = dict.fromkeys([*re.findall(r"\w+", compiled.pattern), *compiled.pattern, *"a0 .-,\n"])
    for piece in list(pieces)[:_PIECES]:
        for said in (piece, f"{piece} "):
            text = said * _REPEATS + "\0"
            compiled.search(text)
            compiled.fullmatch(text)
    return []


_PIECES = 200
_REPEATS = 50


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "format": "name"})]
"""What becomes a part of keys and paths."""
Chars = Annotated[tuple[int, int], AfterValidator(_range)]
"""Shortest and longest text in characters."""
Phrase = Annotated[str, Field(min_length=1), AfterValidator(_said)]
Phrases = Annotated[tuple[Phrase, ...], Field(min_length=1, max_length=1000)]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=1000)]
"""Regular expressions, of which one has to fit."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every generator of random numbers takes."""


class Several(ValueError):
    """What a block's own check found, where that may be more than one thing: each begins with the
    name of its field.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def refuse_all(problems: Iterable[str]) -> None:
    """Raise what was found, if anything."""
    found = list(problems)
    if found:
        raise Several(found)


def twice(names: Iterable[str]) -> str | None:
    """The first of the names that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


class Block(BaseModel):
    """A part of the study file: closed (a misspelt field is an error) and frozen.

    Its numbers are finite.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )
    decides_nothing: ClassVar[frozenset[str]] = frozenset()
    """Fields that decide nothing of what is made, and so are in no key: pace, place, plans, price,
    licence. Any other field is in the keys of what is made of its block, where it is not the
    default."""

    bare: ClassVar[str | None] = None
    """The field that a value stands for which is no mapping; None: there is no such value."""

    @model_validator(mode="before")
    @classmethod
    def _bare_value(cls, value: Any) -> Any:
        if cls.bare is not None and isinstance(value, str | bool | int | float):
            return {cls.bare: value}
        return value

    @model_validator(mode="before")
    @classmethod
    def _sane_numbers(cls, value: Any) -> Any:
        """YAML's `yes` is no 1, and no count has 30 digits."""
        if isinstance(value, dict):
            kinds = _kinds(cls)
            refuse_all(
                _odd_numbers(
                    (name, kinds[name], value[name]) for name in kinds.keys() & value.keys()
                )
            )
        return value


@cache
def _kinds(block: type[Block]) -> dict[str, str]:
    """What each field takes, written out."""
    return {name: str(info.annotation) for name, info in block.model_fields.items()}


def values_of(block: Block) -> dict[str, Any]:
    """The values of a block's fields, by name."""
    return {name: getattr(block, name) for name in type(block).model_fields}


def in_words(value: object) -> str:
    """A field's value as people read it, in one line."""
    if isinstance(value, Block):
        said = {name: one for name, one in values_of(value).items() if one is not None}
        return ", ".join(f"{name} {in_words(one)}" for name, one in said.items())
    if isinstance(value, tuple):
        return f"[{', '.join(map(in_words, value))}]"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _odd_numbers(fields: Iterable[tuple[str, str, Any]]) -> Iterator[str]:
    for name, kind, found in fields:
        if isinstance(found, list | tuple):
            yield from _odd_numbers((f"{name}.{n}", kind, one) for n, one in enumerate(found))
        elif isinstance(found, bool):
            if re.search(r"\b(int|float)\b", kind) and "bool" not in kind:
                yield f"{name}: expected a number, found {str(found).lower()}"
        elif isinstance(found, int | float) and LARGEST < abs(found) < float("inf"):
            yield f"{name}: expected a number of at most {LARGEST:,}"
