"""Training seeds as a random level below an arm, crossed with patients: an interval that speaks of
the method of training and not of one checkpoint.

The difference of two arms varies for two reasons. Patients: how it differs between them, on means
over the seeds (patients - 1 degrees of freedom). Seeds: how the seeds' means differ within an arm,
less what patients add to that (seeds - 1 an arm, taken together). The second part is at least zero.
Their quantiles differ, so the interval adds the squares of both half widths (Howe 1974, JASA
69:789-794; Burdick & Graybill 1992, Confidence Intervals on Variance Components, section 3.3).
Satterthwaite's degrees of freedom cover 88 % where one side has two seeds; this covers 93.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.interval import Interval
from cbt_ray.analysis.effect.layout import NO_VARIATION, ChainMeans

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

METHOD = "t on means of chains and of training seeds (Howe 1974)"
ERROR_TERM = "patient x arm interaction of these two, and training seeds within arms"
SMALLEST = -300.0
"""Logarithm (10) of the smallest p that is given."""


def cells_of(chains: ChainMeans, arm: str) -> Array:
    """(seeds, patients): means of an arm's chains; NaN where there is none."""
    import numpy as np

    own = np.flatnonzero(chains.group == chains.groups.index(arm))
    seeds, row = np.unique(chains.seed[own], return_inverse=True)
    shape = len(seeds), len(chains.patients)
    place = row * shape[1] + chains.patient[own]

    def added(values: Array) -> Array:
        return np.bincount(place, weights=values, minlength=shape[0] * shape[1]).reshape(shape)

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(added(chains.mean[own]) / added(np.ones(len(own))))


@dataclass(frozen=True)
class Parts:
    """What differences of two arms rest on, in squared points; (...) of several studies."""

    patients: Array
    """What patients add to the variance of the difference."""
    df_patients: int
    seeds: Array
    """What training seeds add beyond that; at least zero."""
    df_seeds: int

    @property
    def variance(self) -> Array:
        """Of the difference."""
        import numpy as np

        return np.asarray(self.patients + self.seeds)

    def half_width(self, alpha: float) -> Array:
        """Of the interval that misses the truth in `alpha` of the studies."""
        import numpy as np
        from scipy.special import stdtrit

        ends = [stdtrit(df, alpha / 2) ** 2 for df in (self.df_patients, self.df_seeds)]
        return np.asarray((self.patients * ends[0] + self.seeds * ends[1]) ** 0.5)


def parts(sides: Sequence[Array]) -> Parts:
    """Of two tables (..., seeds, patients) without gaps, of the same patients; one at least has
    several seeds.

    An arm with one seed adds nothing to the second part.
    """
    import numpy as np

    patients = sides[0].shape[-1]
    difference = sides[0].mean(axis=-2) - sides[1].mean(axis=-2)
    between, free = np.zeros(difference.shape[:-1]), 0
    for cells in (side for side in sides if side.shape[-2] > 1):
        count, means = cells.shape[-2], cells.mean(axis=-1, keepdims=True)
        rest = cells - means - cells.mean(axis=-2, keepdims=True)
        rest = rest + cells.mean(axis=(-2, -1), keepdims=True)
        left = np.square(rest).sum(axis=(-2, -1)) / ((count - 1) * (patients - 1))
        between += (means[..., 0].var(axis=-1, ddof=1) - left / patients) / count
        free += count - 1
    of_patients = difference.var(axis=-1, ddof=1) / patients
    return Parts(of_patients, patients - 1, np.maximum(0.0, between), free)


@dataclass(frozen=True)
class SeedInterval(Interval):
    """An interval that training seeds widen."""

    seed_share: float
    """Their share of the squared standard error."""


def interval(sides: Sequence[Array], level: float) -> SeedInterval | None:
    """The interval of the difference; None where nothing varies.

    `sides` as for `parts`. df: those at which t has this critical value.
    """
    estimate, of = float(sides[0].mean() - sides[1].mean()), parts(sides)
    if of.variance < NO_VARIATION:
        return None
    se, width = float(of.variance) ** 0.5, float(of.half_width(1 - level))
    return SeedInterval(
        se=se,
        df=_df(width / se, 1 - level, of),
        t=estimate / se,
        p=_p(of, abs(estimate)),
        low=estimate - width,
        high=estimate + width,
        seed_share=float(of.seeds / of.variance),
    )


def _p(of: Parts, size: float) -> float:
    """The alpha whose interval just reaches zero, by bisection over its logarithm."""
    low, high = SMALLEST, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if of.half_width(math.pow(10, middle)) > size else (low, middle)
    return math.pow(10, (low + high) / 2)


def _df(critical: float, alpha: float, of: Parts) -> float:
    """Degrees of freedom at which t exceeds `critical` in `alpha`; between those of both parts."""
    from scipy.special import stdtr

    if not of.seeds:
        return float(of.df_patients)
    low, high = sorted((float(of.df_patients), float(of.df_seeds)))
    for _ in range(60):
        middle = (low + high) / 2
        beyond = 2 * float(stdtr(middle, -critical)) > alpha
        low, high = (middle, high) if beyond else (low, middle)
    return (low + high) / 2
