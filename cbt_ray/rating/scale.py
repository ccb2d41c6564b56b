"""A scale: items, what each is answered with, and measures over their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from cbt_ray.rating.measure import (
    Ends,
    Measure,
    MeasureKind,
    Number,
    Value,
    ends_of,
    kinds_of,
    leaves,
    values,
)

Kind = Literal["words", "numbers", "count"]
"""What an item is answered with."""
LARGEST_COUNT = 1_000_000
"""More of anything is not in a session."""


@dataclass(frozen=True)
class Step:
    """One score of an item, the word that the judge gives for it, and what it stands for."""

    score: int
    word: str
    """Of a number: its digits."""
    anchor: str = ""


@dataclass(frozen=True)
class Item:
    """One item of a scale."""

    id: str
    title: str
    question: str
    kind: Kind
    steps: tuple[Step, ...] = ()
    """None where something is counted."""
    own: bool = False
    """It has steps of its own, or is a count, unlike the rest of the scale."""

    @property
    def ends(self) -> Ends:
        """Lowest and highest score."""
        scores = [step.score for step in self.steps]
        return Ends(min(scores), max(scores)) if scores else Ends(0, None)

    @property
    def measured(self) -> MeasureKind:
        """What its scores are; of two steps the upper one is a yes."""
        if self.kind == "count":
            return "count"
        return "flag" if len(self.steps) == 2 else "score"

    def step(self, score: float) -> Step | None:
        """The step with this score; None where there is none."""
        return next((step for step in self.steps if step.score == score), None)

    def read(self, answer: Any) -> tuple[int | None, str | None]:
        """The score of a judge's answer, or the reason why it is none.

        A word counts in any case; a number as a whole number, or as text that is one.
        """
        if self.kind == "words":
            said = answer.strip().casefold() if isinstance(answer, str) else None
            found = [step.score for step in self.steps if step.word.casefold() == said]
            return (found[0], None) if found else (None, "unknown_word")
        number = _whole(answer)
        if number is None:
            return None, "no_number"
        fits = self.step(number) if self.steps else 0 <= number <= LARGEST_COUNT
        return (number, None) if fits else (None, "out_of_scale")


@dataclass(frozen=True)
class Scale:
    """Items, and measures over their scores, of which the first is the headline."""

    name: str
    title: str
    instructions: str
    expertise: str
    items: tuple[Item, ...]
    measures: tuple[Measure, ...]
    kind: Kind | None = None
    """What items are answered with that say nothing of their own."""
    steps: tuple[Step, ...] = ()
    """Those of such items."""
    source: str = ""
    licence: str = ""

    @cached_property
    def ends(self) -> Mapping[str, Ends]:
        """The ends of every item and measure."""
        return ends_of(self.measures, {item.id: item.ends for item in self.items})

    @cached_property
    def kinds(self) -> Mapping[str, MeasureKind]:
        """What the values of every item and measure are."""
        return kinds_of(self.measures, {item.id: item.measured for item in self.items})

    def values(self, scores: Mapping[str, Number | None]) -> dict[str, Value]:
        """Every measure of one session's scores, with the reason where it has no value."""
        return values(
            self.measures, {item.id: scores.get(item.id) for item in self.items}, self.ends
        )

    def items_of(self, measure: str) -> tuple[Item, ...]:
        """The items that a measure is made of, in the scale's order."""
        made_of = set(leaves(self.measures, measure))
        return tuple(item for item in self.items if item.id in made_of)

    def item(self, name: str) -> Item:
        """An item by its id; raises KeyError."""
        return {item.id: item for item in self.items}[name]


def joined(scales: Sequence[Scale]) -> Scale:
    """Several scales as one, each name behind that of its scale; one alone is as it was."""
    if len(scales) == 1:
        return scales[0]
    return Scale(
        "+".join(scale.name for scale in scales),
        " and the ".join(scale.title for scale in scales),
        " ".join(dict.fromkeys(scale.instructions for scale in scales)),
        " and ".join(dict.fromkeys(scale.expertise for scale in scales)),
        tuple(
            replace(item, id=f"{scale.name}.{item.id}", own=True)
            for scale in scales
            for item in scale.items
        ),
        tuple(
            replace(
                measure,
                name=f"{scale.name}.{measure.name}",
                parts=tuple(
                    tuple(f"{scale.name}.{part}" for part in group) for group in measure.parts
                ),
            )
            for scale in scales
            for measure in scale.measures
        ),
    )


def _whole(answer: Any) -> int | None:
    if isinstance(answer, str):
        digits = answer.strip().removeprefix("-")
        short = digits.isascii() and digits.isdecimal() and len(digits) < 20
        return int(answer) if short else None
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return None
    return int(answer) if answer == answer // 1 and abs(answer) < 1e18 else None
