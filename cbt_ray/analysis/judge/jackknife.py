"""Intervals that take chains, and not sessions, as independent: the delete-one-chain jackknife of a
statistic made of sums.

The sessions of a chain share therapist, patient and summaries. Intervals that take them as
independent (F, Feldt) cover 63 to 95 % there (docs/statistics.md). Here the statistic is computed
once without each chain, on a scale on which it is nearly normal, and the spread of these values
makes the interval (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 11), with t
of Satterthwaite's degrees of freedom. Arms are strata: what differs between them is no error. It
costs as much as there are chains, since a chain enters through its sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Statistic = Callable[[Array], Array]

FEWEST = 5
"""Chains below which no interval is printed."""
METHOD = "delete-one-chain jackknife within arms, t with Satterthwaite's degrees of freedom"
NOTHING = 1e-20
"""A variance of nothing but rounding, relative to the square."""
TOO_FEW = "needs 2 sessions or more, found 1"
"""Of what compares the differences between sessions with those between ratings of one."""
SURE = 1e-12
"""A correlation this close to 1 is 1."""


@dataclass(frozen=True)
class Link:
    """A scale on which a statistic is nearly normal, and the way back."""

    forward: Callable[[Array], Array]
    back: Callable[[float], float]


def plain() -> Link:
    """For means and differences."""
    return Link(lambda value: value, lambda value: value)


def fisher() -> Link:
    """For correlations and kappas (Fisher's z)."""
    import numpy as np

    return Link(
        lambda value: np.arctanh(np.where(np.abs(value) > 1 - SURE, np.nan, value)), math.tanh
    )


def repeats(k: float) -> Link:
    """For an intraclass correlation over k values a session: the logarithm of its F (Shrout &
    Fleiss 1979).
    """
    import numpy as np

    def forward(value: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                np.log((1 + (k - 1) * value) / np.where(value > 1 - SURE, np.nan, 1 - value))
            )

    def back(value: float) -> float:
        f = math.exp(value)
        return (f - 1) / (f + k - 1)

    return Link(forward, back)


def logarithm() -> Link:
    """For variances and standard deviations."""
    import numpy as np

    return Link(lambda value: np.log(np.where(value > 0, value, np.nan)), math.exp)


def complement() -> Link:
    """For alpha: minus the logarithm of 1 - alpha."""
    import numpy as np

    return Link(
        lambda value: -np.log(np.where(value > 1 - SURE, np.nan, 1 - value)),
        lambda value: 1 - math.exp(-value),
    )


@dataclass(frozen=True)
class Sums:
    """Sums over each chain."""

    values: Array
    """(chains, q)."""
    arm: Array
    """(chains,) the code of each chain's arm."""


@dataclass(frozen=True)
class Clusters:
    """Which chain and which arm each session belongs to, as codes from 0."""

    chain: Array
    arm: Array
    """Both (sessions,)."""

    def of(self, chosen: Array) -> Clusters:
        """Of the chosen sessions."""
        return Clusters(self.chain[chosen], self.arm[chosen])

    @property
    def count(self) -> int:
        """How many chains."""
        import numpy as np

        return len(np.unique(self.chain))

    def sums(self, columns: Array) -> Sums:
        """Sums over each chain of columns (sessions, q)."""
        import numpy as np

        size = int(self.chain.max()) + 1 if len(self.chain) else 0
        kept = np.bincount(self.chain, minlength=size) > 0
        added = [
            np.bincount(self.chain, weights=column, minlength=size)[kept] for column in columns.T
        ]
        arm = np.zeros(size, dtype=int)
        arm[self.chain] = self.arm
        return Sums(np.column_stack(added), arm[kept])


def estimate(
    statistic: Statistic, sums: Sums, level: float, link: Link, undefined: str
) -> Estimate:
    """A statistic of all sums, with its interval.

    `undefined` says why the value itself may not exist.

    `statistic` maps sums (m, q) to (m,), NaN where it does not exist.
    """
    import numpy as np

    count = len(sums.values)
    if count == 0:
        return Estimate(None, reason=undefined)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = sums.values.sum(axis=0, keepdims=True)
        value = float(statistic(whole)[0])
        if not math.isfinite(value):
            return Estimate(None, reason=undefined)
        if count < FEWEST:
            why = f"an interval needs {FEWEST} chains or more, found {count}"
            return Estimate(value, reason=why)
        middle = float(link.forward(np.array([value]))[0])
        without = link.forward(statistic(whole - sums.values))
    return _with_interval(value, middle, without, sums.arm, link, level)


def _with_interval(
    value: float, middle: float, without: Array, arm: Array, link: Link, level: float
) -> Estimate:
    """A value, from itself and its values without each chain on the link's scale."""
    import numpy as np
    from scipy.special import stdtrit

    if not (math.isfinite(middle) and np.isfinite(without).all()):
        why = "no interval: too little varies, in all chains or without one of them"
        return Estimate(value, reason=why)
    variance, df = _variance(without, arm)
    if variance < NOTHING * max(1.0, middle**2):
        return Estimate(value, reason="no interval: chains do not differ")
    half = float(stdtrit(df, 0.5 + level / 2)) * math.sqrt(variance)
    return Estimate(value, link.back(middle - half), link.back(middle + half))


def _variance(without: Array, arm: Array) -> tuple[float, float]:
    """Of a statistic, from its values without each chain; and Satterthwaite's degrees of freedom.

    Where an arm has a single chain, all chains are one stratum, which makes the interval wider
    rather than too narrow.
    """
    import numpy as np

    count, n = len(without), np.bincount(arm)
    if (n[n > 0] < 2).any():
        arm, n = np.zeros(count, dtype=int), np.array([count])
    n = np.maximum(n, 2)  # codes that no chain has add nothing
    rest = (
        without
        - (
            np.bincount(arm, weights=without, minlength=len(n))
            / np.maximum(np.bincount(arm, minlength=len(n)), 1)
        )[arm]
    )
    parts = (
        n
        / (n - 1)
        * ((count - 1) / count) ** 2
        * np.bincount(arm, weights=rest**2, minlength=len(n))
    )
    spread = float((parts**2 / (n - 1)).sum())
    variance = float(parts.sum())
    return variance, variance**2 / spread if spread > 0 else 1.0
