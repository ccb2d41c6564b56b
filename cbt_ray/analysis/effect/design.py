"""A study's size, and which difference of two arms it finds how often.

A contrast of two arms rests on chain means. Its variance is 2 (chain + residual / (chains x
sessions)) / patients: what differs between the chains of an arm, and the sessions of a chain. Power
by the noncentral t; never from the observed difference. Two error terms: `own` (how this difference
varies between patients: patients - 1 degrees of freedom, the analysis' headline) and
`pooled` over all arms ((arms - 1)(patients - 1), where all arms vary alike).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

ErrorTerm = Literal["own", "pooled"]
Adjusted = Literal["holm", "none"]
POWERS = (0.8, 0.9)
NODES = 200
"""Of the quadrature."""
COSTS = (1, 2, 4)
"""Sessions of the next study, as multiples of this one's."""


@dataclass(frozen=True)
class Variances:
    """Variances of totals, in squared points."""

    chain: float
    """Between chains of one arm (patient x arm interaction and the luck of a chain), without what
    sessions add."""
    residual: float
    """Between sessions of one chain."""
    source: str
    """What they were estimated from."""
    df: int | None = None
    """Degrees of freedom of the mean square that they come from."""

    def bounds(self, level: float) -> tuple[float, float] | None:
        """By what the standard errors would have to be multiplied at both ends of the interval of
        that mean square.
        """
        from scipy.special import chdtri

        if not self.df:
            return None
        low, high = (
            math.sqrt(self.df / float(chdtri(self.df, share)))
            for share in (0.5 - level / 2, 0.5 + level / 2)
        )
        return low, high

    def scaled(self, factor: float) -> Variances:
        """For totals on a range so many times as wide."""
        source = (
            self.source
            if factor == 1
            else f"{self.source}, scaled by {factor:.3g} to this scale's range"
        )
        return Variances(self.chain * factor**2, self.residual * factor**2, source)


PUBLISHED = Variances(
    6.49,
    101.21,
    "moments of the 593 published totals of arXiv 2412.00251 (30 chains, totals 11 to 110)",
)
"""Mean square of the interaction 11.62 on 30 chain means of 19.74 sessions; between patients 0.34,
which contrasts cancel."""
PUBLISHED_RANGE = 99.0


@dataclass(frozen=True)
class Design:
    """A study's size."""

    arms: int
    """Arms of the study."""
    family: int
    """Primary contrasts, over which Holm adjusts."""
    patients: int
    """Patients that every arm sees."""
    chains: int
    """Chains per patient and arm."""
    sessions: int
    """Sessions per chain."""

    def se(self, variances: Variances) -> float:
        """Standard error of a contrast."""
        cell = variances.chain + variances.residual / (self.chains * self.sessions)
        return math.sqrt(2 * cell / self.patients)

    def df(self, error: ErrorTerm) -> int:
        """Degrees of freedom of an error term."""
        return (self.patients - 1) * (self.arms - 1 if error == "pooled" else 1)


@dataclass(frozen=True)
class SmallestDifference:
    """The smallest difference that a design finds, by one error term, alpha and power."""

    error_term: ErrorTerm
    """How this difference varies between patients, or all arms pooled."""
    df: int
    adjust: Adjusted
    """`holm`: alpha is that of Holm's first step."""
    alpha: float
    power: float
    difference: float | None
    """In points; null without degrees of freedom."""
    low: float | None
    """What it would be at the lower end of the interval of the variance."""
    high: float | None
    """The same at its upper end."""
    d: float | None
    """The difference over the standard deviation of a session within an arm."""


@dataclass(frozen=True)
class NextStudy:
    """A size of the next study, and the smallest differences that it finds with 80 and 90 % power
    at Holm's first alpha.
    """

    cost: int
    """Sessions, as a multiple of this study's."""
    patients: int
    sessions: int
    """Sessions per chain."""
    own_80: float | None
    """By the difference's own error term."""
    own_90: float | None
    pooled_80: float | None
    """By the error term pooled over all arms."""
    pooled_90: float | None


def power_of(difference: float, se: float, df: int, alpha: float) -> float:
    """Probability that a two-sided t test finds a true difference.

    That of a noncentral t beyond the critical values, as the mean of a normal probability over the
    estimated standard error (scipy's noncentral t has no value for some arguments that occur here).
    """
    from scipy.special import ndtr, stdtrit

    estimated, weights = _errors(df)
    critical, shift = float(stdtrit(df, 1 - alpha / 2)) * estimated, difference / se
    return float(weights @ (ndtr(shift - critical) + ndtr(-shift - critical)))


@cache
def _errors(df: int) -> tuple[Array, Array]:
    """Estimated over true standard error at the nodes of a Gauss-Legendre quadrature over its
    quantiles, and their weights.
    """
    import numpy as np
    from scipy.special import gammaincinv

    nodes, weights = _nodes()
    return np.sqrt(gammaincinv(df / 2, (nodes + 1) / 2) * 2 / df), weights / 2


@cache
def _nodes() -> tuple[Array, Array]:
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights


def smallest(se: float, df: int, alpha: float, power: float) -> float | None:
    """The true difference that is found with this power.

    None without degrees of freedom, or where nothing varies.

    By bisection: importing scipy's root finders takes longer than everything that `plan` does.
    """
    if df < 1 or not se > 0:
        return None
    low, high = 0.0, 2.0
    while power_of(high, 1.0, df, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if power_of(middle, 1.0, df, alpha) < power else (low, middle)
    return se * high


def smallest_rows(design: Design, variances: Variances, level: float) -> list[SmallestDifference]:
    """The smallest differences of one design: error term x alpha (Holm's first step, and
    unadjusted) x power.
    """
    alphas: dict[Adjusted, float] = {
        "holm": _alpha(level, design.family),
        "none": _alpha(level, 1),
    }
    errors: tuple[ErrorTerm, ...] = ("own", "pooled") if design.arms > 2 else ("own",)
    bounds = variances.bounds(level)
    rows = []
    for error in errors:
        for adjust, alpha in alphas.items():
            for power in POWERS:
                df = design.df(error)
                found = smallest(design.se(variances), df, alpha, power)
                low, high = (
                    (found * bounds[0], found * bounds[1]) if found and bounds else (None, None)
                )
                d = _standardized(found, variances)
                rows.append(
                    SmallestDifference(error, df, adjust, alpha, power, found, low, high, d)
                )
    return rows


def _alpha(level: float, family: int) -> float:
    """Of Holm's first step; rounded, since 1 - 0.95 is not 0.05 in binary."""
    return round(1 - level, 12) / max(1, family)


def _standardized(difference: float | None, variances: Variances) -> float | None:
    """Over the standard deviation of a session within an arm."""
    return (
        None if difference is None else difference / math.sqrt(variances.chain + variances.residual)
    )


def grid(
    design: Design, variances: Variances, level: float, costs: Sequence[int] = COSTS
) -> list[NextStudy]:
    """Patients x sessions at equal cost (sessions per arm) for the next study, with Holm's first
    alpha.
    """
    alpha, rows = _alpha(level, design.family), []
    for cost in costs:
        budget = cost * design.patients * design.sessions
        for patients in (number for number in range(2, budget + 1) if budget % number == 0):
            own = replace(design, patients=patients, sessions=budget // patients)
            rows.append(
                NextStudy(cost, patients, own.sessions, *_differences(own, variances, alpha))
            )
    return rows


def _differences(
    design: Design, variances: Variances, alpha: float
) -> tuple[float | None, float | None, float | None, float | None]:
    """By the own error term with the power of 80 and 90 %, then by the pooled one."""
    se, (usual, surer) = design.se(variances), POWERS
    own, pooled = design.df("own"), design.df("pooled")
    return (
        smallest(se, own, alpha, usual),
        smallest(se, own, alpha, surer),
        smallest(se, pooled, alpha, usual),
        smallest(se, pooled, alpha, surer),
    )
