"""Two conditions within the same subjects: z and t of their difference, win rates, and adjustment
over all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.calibration import HOLDS
from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.model.nested import Fit

    Array = np.ndarray[Any, np.dtype[Any]]

SAME = 1e-9
"""Values closer than this are a tie: means of items are not exact in binary."""


@dataclass(frozen=True, kw_only=True)
class PairInterval:
    """The difference of a pair, tested."""

    se: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    """Over all pairs, by Holm and Sidak."""
    low: float | None = None
    high: float | None = None
    simultaneous: tuple[float, float] | None = None
    """Sidak's interval over all pairs."""
    reason: str | None = None
    """Why there is no interval."""


@dataclass(frozen=True, kw_only=True)
class PairByZ(PairInterval):
    """By z from the mixed model, as published: it takes its variances as known."""

    z: float
    covers: float
    """What its 95 % interval covers."""


@dataclass(frozen=True, kw_only=True)
class PairByT(PairInterval):
    """By t, on nothing but these two conditions."""

    df: int | None = None
    t: float | None = None
    d_z: float | None = None
    """The mean difference over its own spread."""


@dataclass(frozen=True)
class WinRate:
    """A share with Wilson's interval."""

    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Wins:
    """How often the first of two conditions is the better one in a subject: a tie is half a win."""

    wins: int
    losses: int
    ties: int
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    strict: WinRate | None = None
    """A tie counts as no win, as the published code has it."""
    p: float | None = None
    """Exact sign test without ties."""
    median_difference: float | None = None


def coverage_by_z(df: int) -> tuple[float, str | None]:
    """What a 95 % interval by z covers where the variance has `df` degrees of freedom, and why it
    is withheld if too little.
    """
    from scipy.special import ndtri, stdtr

    covers = 1 - 2 * float(stdtr(df, -ndtri(0.975)))
    free = many(df, "degree of freedom", "degrees of freedom")
    low = f"withheld: a 95 % interval by z covers {covers:.1%} with {free}"
    return covers, low if covers < HOLDS[0] else None


def wald(fit: Fit, a: int, b: int, df: int, level: float, pairs: int) -> PairByZ:
    """Test a pair by z from a mixed model; `df` are those that its variances truly have.

    Intervals that would not hold their level are withheld.
    """
    from scipy.special import ndtr, ndtri

    estimate = float(fit.estimates[a] - fit.estimates[b])
    se = float((fit.covariance[a, a] + fit.covariance[b, b] - 2 * fit.covariance[a, b]) ** 0.5)
    covers, why = coverage_by_z(df)
    z = estimate / se
    found = PairByZ(se=se, z=z, p=2 * float(ndtr(-abs(z))), covers=covers, reason=why)
    if why:
        return found
    half, wide = (float(ndtri(0.5 + share / 2)) * se for share in (level, sidak(level, pairs)))
    return replace(
        found,
        low=estimate - half,
        high=estimate + half,
        simultaneous=(estimate - wide, estimate + wide),
    )


def paired(difference: Array, level: float, pairs: int) -> PairByT:
    """Test (n,) differences by t."""
    from scipy.special import stdtr, stdtrit

    n = len(difference)
    if n < 2:
        return PairByT(reason=f"needs 2 subjects with both conditions, found {n}")
    estimate, deviation = float(difference.mean()), float(difference.std(ddof=1))
    if deviation < SAME:
        return PairByT(reason="all subjects differ alike: there is no variation to test against")
    se, df = deviation / n**0.5, n - 1
    half, wide = (
        float(stdtrit(df, 0.5 + share / 2)) * se for share in (level, sidak(level, pairs))
    )
    return PairByT(
        se=se,
        df=df,
        t=estimate / se,
        p=2 * float(stdtr(df, -abs(estimate / se))),
        low=estimate - half,
        high=estimate + half,
        simultaneous=(estimate - wide, estimate + wide),
        d_z=estimate / deviation,
    )


def wins(difference: Array, level: float) -> Wins:
    """How often the first of two conditions is the better one, in (n,) differences."""
    import numpy as np
    from scipy.stats import binomtest

    n, won = len(difference), int((difference > SAME).sum())
    lost = int((difference < -SAME).sum())
    tied = n - won - lost
    if n == 0:
        return Wins(won, lost, tied)
    rate = (won + tied / 2) / n
    return Wins(
        won,
        lost,
        tied,
        rate,
        *wilson(rate, n, level),
        WinRate(won / n, *wilson(won / n, n, level)),
        float(binomtest(won, won + lost).pvalue) if won + lost else None,
        float(np.median(difference)),
    )


def wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Interval of a share of n (Wilson 1927); unlike scipy's it takes half wins."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + level / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def sidak(level: float, tests: int) -> float:
    """The level of each of several intervals that hold `level` together (Sidak 1967)."""
    return float(level ** (1 / max(1, tests)))


def holm_sidak(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values (Holm 1979 with Sidak's inequality), in the given order."""
    import math

    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        p = p_values[index]
        # 1 - (1 - p)^m, without losing a p of 1e-20 to rounding
        running = max(
            running, 1.0 if p >= 1.0 else -math.expm1((len(p_values) - rank) * math.log1p(-p))
        )
        adjusted[index] = running
    return adjusted
