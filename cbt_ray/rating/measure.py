"""Measures: numbers made of a session's item scores and of other measures; pure.

What cannot be computed has no value, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

ITEM_MISSING = "item_missing"
DIVISION_BY_ZERO = "division_by_zero"
Number = int | float
MeasureKind = Literal["score", "flag", "share", "count"]
"""What a measure's values are: any of a scale; the lower or the upper end (no or yes); a part of
its range; a whole number from 0 on."""
T = TypeVar("T")


class Ends(NamedTuple):
    """The lowest and the highest that a score or a measure can be; None: there is no such end."""

    low: Number | None
    high: Number | None


class Value(NamedTuple):
    """A measure of one session, or the reason why it has none."""

    value: Number | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is in a unit."""
        return self._asdict()


@dataclass(frozen=True)
class Measure:
    """A number made of items and of other measures, by name.

    `sum` and `mean` have one list of parts; `ratio` has two: the sum of the first over that of the
    second.
    """

    name: str
    title: str
    operation: Literal["sum", "mean", "ratio"]
    parts: tuple[tuple[str, ...], ...]
    times: Number = 1
    rescale: tuple[Number, Number] | None = None
    """Where the lowest and the highest possible value are put, with all others between them."""


def values(
    measures: Sequence[Measure],
    scores: Mapping[str, Number | None],
    ends: Mapping[str, Ends],
) -> dict[str, Value]:
    """Every measure of one session.

    `scores`: item -> score, None where it is missing. `ends`: those of all items and measures.
    """
    known = {
        item: Value(score, None if score is not None else ITEM_MISSING)
        for item, score in scores.items()
    }

    def value(measure: Measure, parts: Sequence[Sequence[Value]]) -> Value:
        lost = next((part.reason for group in parts for part in group if part.reason), None)
        if lost is not None:
            return Value(None, lost)
        sums = [_sum([part.value for part in group if part.value is not None]) for group in parts]
        if measure.operation == "ratio" and sums[1] == 0:
            return Value(None, DIVISION_BY_ZERO)
        divisor = {"sum": 1, "mean": len(parts[0]), "ratio": sums[-1]}[measure.operation]
        found = sums[0] if measure.operation == "sum" else sums[0] / divisor
        if measure.rescale is None:
            return Value(found * measure.times)
        low, high = plain_ends(measure, [[ends[name] for name in group] for group in measure.parts])
        if low is None or high is None:
            raise ValueError(f"{measure.name} has no ends to be rescaled between")
        to_low, to_high = measure.rescale
        return Value((to_low + (found - low) * (to_high - to_low) / (high - low)) * measure.times)

    return _each(measures, known, value)


def ends_of(measures: Sequence[Measure], items: Mapping[str, Ends]) -> dict[str, Ends]:
    """The ends of all items and measures."""

    def between(measure: Measure, parts: Sequence[Sequence[Ends]]) -> Ends:
        found = plain_ends(measure, parts) if measure.rescale is None else Ends(*measure.rescale)
        moved = [None if end is None else end * measure.times for end in found]
        return Ends(*(moved if measure.times > 0 else reversed(moved)))

    return {**items, **_each(measures, items, between)}


def kinds_of(
    measures: Sequence[Measure], items: Mapping[str, MeasureKind]
) -> dict[str, MeasureKind]:
    """What the values of all items and measures are."""

    def made(measure: Measure, parts: Sequence[Sequence[MeasureKind]]) -> MeasureKind:
        known, plain = set(parts[0]), measure.times == 1 and measure.rescale is None
        if measure.operation == "sum" and known == {"count"} and plain:
            return "count"
        alone = measure.operation != "ratio" and len(parts[0]) == 1
        return "flag" if alone and known == {"flag"} else "score"

    return {**items, **_each(measures, items, made)}


def plain_ends(measure: Measure, parts: Sequence[Sequence[Ends]]) -> Ends:
    """The ends of a measure before it is rescaled or multiplied, by those of its parts."""
    lows, highs = ([_open_sum([part[end] for part in group]) for group in parts] for end in (0, 1))
    if measure.operation == "sum":
        return Ends(lows[0], highs[0])
    if measure.operation == "mean":
        count = len(parts[0])
        return Ends(*(None if end is None else end / count for end in (lows[0], highs[0])))
    over, under = Ends(lows[0], highs[0]), Ends(lows[1], highs[1])
    if over.low is None or over.low < 0 or under.low is None or under.low < 0:
        return Ends(None, None)
    low = 0.0 if under.high is None else over.low / under.high if under.high else 0.0
    return Ends(low, None if over.high is None or not under.low else over.high / under.low)


def leaves(measures: Sequence[Measure], name: str) -> list[str]:
    """The items that a measure is made of, each once, in the order in which it names them."""
    by_name = {measure.name: measure for measure in measures}
    found: dict[str, None] = {}

    def add(part: str) -> None:
        if part in by_name:
            for group in by_name[part].parts:
                for other in group:
                    add(other)
        else:
            found[part] = None

    add(name)
    return list(found)


def circle(measures: Sequence[Measure]) -> list[str] | None:
    """The names of measures that are made of each other, first and last the same, if there are."""
    parts = {m.name: [part for group in m.parts for part in group] for m in measures}
    clear: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in clear or name not in parts:
            return None
        for part in parts[name]:
            if found := walk(part, [*way, name]):
                return found
        clear.add(name)
        return None

    return next((found for name in parts if (found := walk(name, []))), None)


def _each(
    measures: Sequence[Measure],
    items: Mapping[str, T],
    make: Callable[[Measure, Sequence[Sequence[T]]], T],
) -> dict[str, T]:
    """What is made of every measure, after the measures that it is made of."""
    by_name = {measure.name: measure for measure in measures}
    found: dict[str, T] = {}

    def of(name: str) -> T:
        if name not in by_name:
            return items[name]
        if name not in found:
            measure = by_name[name]
            found[name] = make(measure, [[of(part) for part in group] for group in measure.parts])
        return found[name]

    return {measure.name: of(measure.name) for measure in measures}


def _sum(numbers: Sequence[Number]) -> Number:
    """Exact where all are whole."""
    whole = all(isinstance(number, int) for number in numbers)
    return sum(numbers) if whole else math.fsum(numbers)


def _open_sum(ends: Sequence[Number | None]) -> Number | None:
    known = [end for end in ends if end is not None]
    return _sum(known) if len(known) == len(ends) else None
