"""Tallies: flags, shares and counts of arms, with patients as pairs.

Each arm has the interval that fits what is tallied (`analysis.share`). That of a difference is made
of both by square and add, with the correlation within patients; training seeds widen it as in
`seeds`. p is the level at which it reaches zero; of a flag in one session a patient it is exact
McNemar's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect import seeds
from cbt_ray.analysis.effect.layout import NO_VARIATION, ChainMeans
from cbt_ray.analysis.estimate import Estimate, Span
from cbt_ray.analysis.settings import Settings
from cbt_ray.analysis.share import correlation, count, difference, mcnemar, share, widened
from cbt_ray.rating.measure import MeasureKind

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SMALLEST = 1e-12
"""The smallest p that is given."""
OF_PATIENTS, OF_SEEDS = "patients", "patients, and training seeds within arms"


@dataclass(frozen=True)
class Tally:
    """What patients have in one arm; of a flag or a share as a part of its range."""

    kind: MeasureKind
    cells: Array
    """(seeds, patients), without gaps."""
    sessions: int

    @property
    def own(self) -> Array:
        """(patients,): means over training seeds."""
        import numpy as np

        return np.asarray(self.cells.mean(axis=0))

    @property
    def trials(self) -> int | None:
        """Sessions, where each is a yes or no, or a whole number."""
        return None if self.kind == "share" else self.sessions

    @property
    def paired(self) -> bool:
        """Is it one yes or no a patient."""
        ends = bool(((self.own == 0) | (self.own == 1)).all())
        return self.kind == "flag" and self.sessions == len(self.own) and ends

    @property
    def most(self) -> float:
        """The highest value; of two arms the largest difference."""
        return math.inf if self.kind == "count" else 1.0

    def estimate(self, level: float, *, seeds_too: bool = True) -> Estimate:
        """Its mean; else as if it had no other training seeds."""
        import numpy as np

        beside = self._between_seeds(level) if seeds_too else 0.0
        if self.kind == "count":
            return count(self.own, level, beside)
        return share(self.own, np.ones(len(self.own)), level, self.trials, beside)

    def _between_seeds(self, level: float) -> float:
        """What training seeds add to the square of half its interval's width."""
        import numpy as np
        from scipy.special import stdtrit

        if len(self.cells) < 2 or len(self.own) < 2:
            return 0.0
        of = seeds.parts([self.cells, np.zeros((1, len(self.own)))])
        return float(of.seeds * stdtrit(of.df_seeds, 0.5 + level / 2) ** 2)


@dataclass(frozen=True)
class TallyInterval:
    """Of the difference of two tallies."""

    estimate: float
    se: float | None
    p: float
    low: float
    high: float
    method: str
    error_term: str
    seed_share: float | None


def of_arm(chains: ChainMeans, arm: str, settings: Settings) -> Estimate:
    """The mean of the patients who have every training seed of an arm."""
    if not chains.seeds(arm):
        return Estimate(None, reason="no session has a value")
    (own,) = tallies(chains, (arm,), settings)
    found, (low, size) = own.estimate(settings.level), range_of(settings)
    value, least, most = (
        None if end is None else low + size * end for end in (found.value, found.low, found.high)
    )
    return Estimate(value, least, most, found.reason)


def compared(first: Tally, second: Tally, settings: Settings) -> TallyInterval | str:
    """The difference of two arms in the same patients, two at least; or why it has no interval."""
    apart, cells = first.own - second.own, [first.cells, second.cells]
    _, size = range_of(settings)
    why = [side.estimate(settings.level).reason for side in (first, second)]
    if any(why):
        return next(filter(None, why))
    if first.kind == "share" and apart.std() < NO_VARIATION < first.own.std():
        return "needs differences that vary between patients, found none (the error term is zero)"
    ends, of = ends_of(first, second, settings.level), seeds.parts(cells)
    several = of.df_seeds > 0
    p, told = _test(first, second)
    name = "Garwood" if first.kind == "count" else "Korn and Graubard"
    return TallyInterval(
        estimate=size * float(apart.mean()),
        se=size * float(of.variance) ** 0.5 or None,
        p=p,
        low=size * ends.low,
        high=size * ends.high,
        method=f"square and add on intervals after {name}, p by {told}",
        error_term=OF_SEEDS if several else OF_PATIENTS,
        seed_share=_share(of) if several else None,
    )


def _share(of: seeds.Parts) -> float:
    return float(of.seeds / of.variance) if of.seeds > NO_VARIATION else 0.0


def tallies(chains: ChainMeans, arms: Sequence[str], settings: Settings) -> list[Tally]:
    """Of the patients who have every training seed of all these arms."""
    import numpy as np

    low, size = range_of(settings)
    cells = [seeds.cells_of(chains, arm) for arm in arms]
    complete = ~np.isnan(np.vstack(cells)).any(axis=0)
    there = complete[chains.patient]
    return [
        Tally(
            settings.kind,
            (own[:, complete] - low) / size,
            int(chains.count[there & chains.of([arm])].sum()),
        )
        for own, arm in zip(cells, arms, strict=True)
    ]


def range_of(settings: Settings) -> tuple[float, float]:
    """The lowest value of what is tallied, and how far it is from there to the highest; a count is
    its own.
    """
    low, high = settings.total or (None, None)
    if settings.kind == "count" or low is None or high is None:
        return 0.0, 1.0
    return low, high - low


def ends_of(first: Tally, second: Tally, level: float) -> Span:
    """The interval of first - second, in parts of the range."""
    trials = None if first.trials is None else min(first.sessions, second.sessions)
    alone = [side.estimate(level, seeds_too=False) for side in (first, second)]
    of_patients = difference(alone[0], alone[1], correlation(first.own, second.own, trials))
    # Seeds of different arms are others: they correlate with nothing.
    of_all = difference(first.estimate(level), second.estimate(level), 0)
    of_these = difference(alone[0], alone[1], 0)
    between = float((first.own - second.own).mean())
    return widened(between, of_patients, of_all, of_these, first.most)


def _test(first: Tally, second: Tally) -> tuple[float, str]:
    """p, and by what."""
    if first.paired and second.paired:
        apart = first.own - second.own
        plus, minus = int((apart > 0).sum()), int((apart < 0).sum())
        return mcnemar(plus, minus), f"exact McNemar, {plus} to {minus} of the pairs that differ"
    return _p(first, second), "the interval that reaches zero"


def _p(first: Tally, second: Tally) -> float:
    """The alpha whose interval just reaches zero, by bisection over its logarithm."""
    low, high = math.log(SMALLEST), 0.0
    for _ in range(40):
        middle = (low + high) / 2
        ends = ends_of(first, second, 1 - math.exp(middle))
        low, high = (middle, high) if ends.low <= 0 <= ends.high else (low, middle)
    return math.exp((low + high) / 2)
