"""What is decided before the first score is seen: level, policy for unrated sessions, the
contrasts, the scale's range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cbt_ray.rating.measure import MeasureKind
from cbt_ray.study.contrast import Contrast

Policy = Literal["missing", "lowest"]


@dataclass(frozen=True)
class Outcome:
    """A measure of sessions by a rater: what arms are compared in."""

    rater: str
    measure: str
    """Its name in the table of scores."""
    title: str
    low: float | None
    """The lowest that it can be; null where it has no such end."""
    high: float | None
    kind: MeasureKind
    """What its values are, and so by which intervals arms are compared."""
    primary: bool
    """Its primary contrasts are in one family with those of the other primary outcomes (Holm)."""


@dataclass(frozen=True)
class ItemKind:
    """What an item's scores are, where they are no points of a scale."""

    kind: MeasureKind
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Learned:
    """A model that learned to judge from people's ratings."""

    model: str
    people: str
    """Whose ratings."""
    raters: Mapping[str, bool]
    """The raters that it is: trained, or as it was before."""
    measures: Sequence[str]
    """What is compared, by its names in the table of scores."""
    view: str
    """What they read."""
    items: Sequence[str]
    learned_from: int
    """Patients whose ratings it learned from."""
    held_out: Sequence[str]
    """Patients whose ratings it never saw."""


@dataclass(frozen=True)
class Settings:
    """Settings of an analysis; everything that a number depends on besides the scores."""

    level: float = 0.95
    """Level of every interval."""
    unrated: Policy = "missing"
    """What an unrated session counts as in the headline; the others are shown, too."""
    judge: str = "judge"
    """Whose ratings make the headline: the study's own judge, or one whose ratings were imported.
    """
    probed: str = "judge"
    """Whose ratings the probes are compared with."""
    thorough: bool = False
    """Refit the chain model to simulated studies, too."""
    view: str = "plain"
    """The view whose ratings make the headline; other views are reported, too."""
    items: tuple[str, ...] = ()
    """The scale's items in their order; empty: the order in which the ratings name them."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Readable item names."""
    lowest: int = 1
    highest: int = 10
    """Range of one item."""
    total: tuple[float | None, float | None] | None = None
    """Range of the total, without an end where it has none; none: that of the sum of all items."""
    kind: MeasureKind = "score"
    """What the totals are, and so by which intervals arms are compared; a flag or a share has both
    ends in `total`."""
    item_kinds: Mapping[str, ItemKind] = field(default_factory=dict)
    """Items whose scores are no points of a scale."""
    outcomes: tuple[Outcome, ...] = ()
    """What arms are compared in, the headline's total first; none: that alone."""
    arms: tuple[str, ...] = ()
    """Arms in their order; empty: the order in which the ratings name them."""
    contrasts: tuple[Contrast, ...] | None = None
    """What is compared; none: `default_contrasts` of the arms that were scored."""
    learned: tuple[Learned, ...] = ()
    """Models that learned to judge from people's ratings."""
    trained: tuple[str, ...] = ()
    """Arms whose model was trained, besides those of the level `tuned`."""

    def ends(self, items: int) -> tuple[float | None, float | None]:
        """Lowest and highest total of so many items."""
        return self.total or (float(items * self.lowest), float(items * self.highest))

    def of_item(self, item: str) -> Settings:
        """The same with an item as the total."""
        own = self.item_kinds.get(item, ItemKind("score", None, None))
        return replace(self, kind=own.kind, total=(own.low, own.high))

    @property
    def primary_outcomes(self) -> int:
        """How many outcomes are primary."""
        return sum(outcome.primary for outcome in self.outcomes) or 1
