"""Contrasts: which levels of a factor are compared, and which arms answer that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from pydantic import Field, model_validator

from cbt_ray.study.block import Block, Name, refuse_all

Levels = Mapping[str, str]
"""Factor -> level."""
TUNING = "variant"
"""The derived factor that says whether an arm's model was tuned."""


class Contrast(Block):
    """Two sets of levels whose arms are compared, each pair of arms on its own."""

    name: Name
    """The name in tables and figures."""
    plus: Levels = Field(min_length=1)
    """Levels by factor of the arms that the other side is taken from."""
    minus: Levels = Field(min_length=1)
    """Other levels of the same factors."""
    within: tuple[str, ...] | None = None
    """Factors whose levels the two arms share.

    Without it: the other factors that vary on both sides.
    """
    family: Literal["primary", "secondary"] = "primary"
    """What is adjusted together."""

    @model_validator(mode="after")
    def _comparable(self) -> Contrast:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        if set(self.plus) != set(self.minus):
            yield (
                f"minus: expected levels of the same factors as plus, {sorted(self.plus)}, found "
                f"{sorted(self.minus)}"
            )
        elif dict(self.plus) == dict(self.minus):
            yield "minus: expected other levels than plus"
        for factor in self.within or ():
            if factor in self.plus:
                yield f"within: expected other factors than the one compared, found {factor!r}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms that a contrast compares."""

    contrast: str
    plus: str
    """An arm."""
    minus: str
    where: Levels
    """The levels that both share, of the factors that the contrast is held within."""
    alone: bool = True
    """Whether no other pair of the contrast shares these levels."""

    @property
    def label(self) -> str:
        """What a table calls it: the levels that both share, and the two arms where those do not
        tell it from another pair.
        """
        levels, arms = " ".join(self.where.values()), f"{self.plus} - {self.minus}"
        return levels if levels and self.alone else f"{levels}: {arms}" if levels else arms


def pairs(contrast: Contrast, arms: Mapping[str, Levels]) -> list[Pair]:
    """Every pair of arms that the contrast compares, in the order of the arms.

    Arms are never pooled: of two arms that differ in a factor which the other side does not have,
    each makes a pair of its own.
    """
    plus, minus = _side(contrast.plus, arms), _side(contrast.minus, arms)
    within = _within(contrast, arms, plus, minus)
    found = [
        (one, other, {factor: arms[one].get(factor, "") for factor in within})
        for one in plus
        for other in minus
        if all(arms[one].get(factor) == arms[other].get(factor) for factor in within)
    ]
    shared = [where for _, _, where in found]
    return [
        Pair(contrast.name, one, other, where, shared.count(where) == 1)
        for one, other, where in found
    ]


def unanswered(contrast: Contrast, arms: Mapping[str, Levels]) -> Iterator[str]:
    """Why the arms do not answer a contrast: `field: expected ...`, none where they do."""
    problems = [*_unknown(contrast, arms)]
    if not problems and not pairs(contrast, arms):
        problems = ["within: expected levels that both sides have"]
    yield from problems


def _unknown(contrast: Contrast, arms: Mapping[str, Levels]) -> Iterator[str]:
    """All factors and levels that no arm has."""
    known = {
        factor: _levels(factor, arms)
        for factor in dict.fromkeys(f for a in arms.values() for f in a)
    }
    for side, asked in (("plus", contrast.plus), ("minus", contrast.minus)):
        wrong = [factor for factor, level in asked.items() if level not in known.get(factor, [])]
        for factor in wrong:
            if factor in known:
                expected = f"one of {known[factor]}, found {asked[factor]!r}"
            else:
                expected = f"one of the factors {sorted(known)}, found {factor!r}"
            yield f"{side}.{factor}: expected {expected}"
        if not wrong and not _side(asked, arms):
            yield f"{side}: expected levels that an arm has together, found {dict(asked)}"
    for factor in contrast.within or ():
        if factor not in known:
            yield f"within: expected factors of {sorted(known)}, found {factor!r}"


def default_contrasts(arms: Mapping[str, Levels]) -> tuple[Contrast, ...]:
    """What is compared where the study file names no contrast: the one factor of two levels, the
    second level less the first; where several have two, whether the model was tuned.

    Second, the levels of each other factor among the arms of the first contrast's plus side. Empty
    where it isn't clear what is asked.
    """
    factors = dict.fromkeys(factor for levels in arms.values() for factor in levels)
    two = [factor for factor in factors if len(_levels(factor, arms)) == 2]
    asked = TUNING if TUNING in two else two[0] if len(two) == 1 else None
    if asked is None:
        return ()
    low, high = _levels(asked, arms)
    if asked == TUNING:
        low, high = sorted((low, high))  # instruct, tuned, in whatever order the arms come
    first = Contrast(name=_plain(asked), plus={asked: high}, minus={asked: low})
    shared = _within(first, arms, _side(first.plus, arms), _side(first.minus, arms))
    second = tuple(
        Contrast(
            name=f"{_plain(factor)[:27]}-{number}",
            plus={asked: high, factor: one},
            minus={asked: high, factor: other},
            family="secondary",
        )
        for factor in shared
        for number, (one, other) in enumerate(
            combinations(_levels(factor, {a: arms[a] for a in _side(first.plus, arms)}), 2), 1
        )
    )
    return (first, *second)


def _plain(name: str) -> str:
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    return plain[:31] or "contrast"


def _levels(factor: str, arms: Mapping[str, Levels]) -> list[str]:
    return list(dict.fromkeys(levels[factor] for levels in arms.values() if factor in levels))


def _side(asked: Levels, arms: Mapping[str, Levels]) -> list[str]:
    return [
        arm
        for arm, levels in arms.items()
        if all(levels.get(factor) == level for factor, level in asked.items())
    ]


def _within(
    contrast: Contrast, arms: Mapping[str, Levels], plus: Sequence[str], minus: Sequence[str]
) -> tuple[str, ...]:
    """The factors that a contrast is held within; by default those that vary on both sides."""
    if contrast.within is not None:
        return contrast.within
    others = dict.fromkeys(f for levels in arms.values() for f in levels if f not in contrast.plus)
    sides = [{arm: arms[arm] for arm in side} for side in (plus, minus)]
    return tuple(
        factor for factor in others if all(len(_levels(factor, side)) > 1 for side in sides)
    )
