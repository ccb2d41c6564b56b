"""Intraclass correlations: one-way over replicates of a judge, two-way over judges.

As functions of sums over sessions.

Names as in Shrout & Fleiss 1979 (Psychol. Bull. 86:420-428): (1, .) one-way, (2, .) absolute
agreement, (3, .) consistency; (., 1) of one rating, (., k) of the mean of k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate, Span
from cbt_ray.analysis.judge.jackknife import TOO_FEW, Clusters, estimate, fisher, logarithm, repeats

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.judge.crossed import Moments

    Array = np.ndarray[Any, np.dtype[Any]]

ONCE = "no session was rated more than once"
CONSTANT = "no session's scores differ from another's"
POINTS = 1 << 15
"""Of the generalized interval."""
SPREAD = 1.2207440846057596
"""Powers of this number's inverse place points evenly in a cube: x^4 = x + 1."""


def averaged(single: float | None, k: float) -> float | None:
    """Reliability of the mean of k ratings from that of one (Spearman-Brown)."""
    if single is None or 1 + (k - 1) * single <= 0:
        return None
    return k * single / (1 + (k - 1) * single)


def of_average(single: Estimate, k: float) -> Estimate:
    """An estimate with its interval, taken over to the mean of k ratings."""
    return Estimate(
        averaged(single.value, k), averaged(single.low, k), averaged(single.high, k), single.reason
    )


@dataclass(frozen=True)
class Repeatability:
    """How far one judge repeats itself."""

    sessions: int
    repeated: int
    """Sessions that were rated more than once."""
    ratings: int
    k: float | None
    """The harmonic mean of the replicates per session."""
    single: Estimate
    """ICC(1,1)."""
    average: Estimate
    """ICC(1,k)."""
    within_session_sd: Estimate
    independent: Span | None = None
    """The exact F interval of ICC(1,1) for sessions that are independent (Wald 1940 for unequal
    numbers of replicates; with equal ones it is Shrout & Fleiss's)."""


def one_way(scores: Moments, clusters: Clusters, level: float) -> Repeatability:
    """Repeatability of one judge, and the standard deviation of replicates within a session."""
    import numpy as np

    there = scores.count > 0
    count, ss = scores.count[there], scores.spread[there]
    sessions, repeated, ratings = int(there.sum()), int((count > 1).sum()), int(count.sum())
    if not repeated or sessions == 1:
        none = Estimate(None, reason=TOO_FEW if repeated else ONCE)
        return Repeatability(sessions, repeated, ratings, None, none, none, none)
    mean = scores.mean[there] - scores.mean[there].mean()
    of_chains = clusters.of(there).sums(
        np.column_stack([np.ones_like(count), count, count**2, count * mean, count * mean**2, ss])
    )
    typical = float(_typical(of_chains.values.sum(axis=0, keepdims=True))[0])
    k = float(len(count) / (1 / count).sum())
    single = estimate(_one_way, of_chains, level, repeats(typical), CONSTANT)
    within = estimate(
        lambda s: np.sqrt(s[:, 5] / (s[:, 1] - s[:, 0])), of_chains, level, logarithm(), ONCE
    )
    independent = _wald(count, mean, ss, level)
    return Repeatability(
        sessions, repeated, ratings, k, single, of_average(single, k), within, independent
    )


def _typical(s: Array) -> Array:
    """The number of replicates that makes the expected mean squares right: (N - sum k^2 / N) / (n -
    1).
    """
    return (s[:, 1] - s[:, 2] / s[:, 1]) / (s[:, 0] - 1)  # type: ignore[no-any-return]


def _one_way(s: Array) -> Array:
    """ICC(1,1) by analysis of variance from sums of 1, k, k^2, k m, k m^2 and the sum of squares
    within.
    """
    between = (s[:, 4] - s[:, 3] ** 2 / s[:, 1]) / (s[:, 0] - 1)
    within = s[:, 5] / (s[:, 1] - s[:, 0])
    return (between - within) / (between + (_typical(s) - 1) * within)  # type: ignore[no-any-return]


def _wald(count: Array, mean: Array, ss: Array, level: float) -> Span | None:
    """The exact interval of the one-way model: ratios of variances at which the weighted F reaches
    its quantiles.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import fdtri

    n, total = len(count), float(count.sum())
    within = float(ss.sum()) / (total - n)
    sizes, group = np.unique(count, return_inverse=True)
    held, first, second = (
        np.bincount(group, weights=power) for power in (np.ones(n), mean, mean**2)
    )

    def f(ratio: float) -> float:
        weight = sizes / (1 + sizes * ratio)
        middle = float((weight * first).sum()) ** 2 / float((weight * held).sum())
        return (float((weight * second).sum()) - middle) / (n - 1) / within

    if n < 2 or within <= 0 or f(0.0) <= 0:
        return None
    bottom = -(1 - 1e-9) / float(sizes.max())
    ends = []
    for share in (0.5 + level / 2, 0.5 - level / 2):
        quantile, top = float(fdtri(n - 1, total - n, share)), 1.0
        while f(top) > quantile:
            top *= 4
        ratio = (
            bottom
            if f(bottom) < quantile
            else brentq(lambda x, q=quantile: f(x) - q, bottom, top, xtol=1e-12)
        )
        ends.append(ratio / (1 + ratio))
    return Span(*ends)


@dataclass(frozen=True)
class Squares:
    """Mean squares of sessions x judges without gaps.

    Arrays (m,), one entry for each set of sums.
    """

    sessions: Array
    judges: Array
    rest: Array
    n: Array
    """Sessions."""
    k: int
    """Judges."""

    @property
    def absolute(self) -> Array:
        """ICC(2,1): differences between judges count as disagreement."""
        judges = self.k * (self.judges - self.rest) / self.n
        return (self.sessions - self.rest) / (self.sessions + (self.k - 1) * self.rest + judges)  # type: ignore[no-any-return]

    @property
    def consistent(self) -> Array:
        """ICC(3,1): they do not."""
        return (self.sessions - self.rest) / (self.sessions + (self.k - 1) * self.rest)  # type: ignore[no-any-return]


def columns(table: Array) -> Array:
    """(sessions, k + 3) what a two-way layout needs of each session: 1, its k values, their
    squares' sum, their sum's square.
    """
    import numpy as np

    centred = table - table.mean() if len(table) else table
    return np.column_stack(
        [
            np.ones(len(table)),
            centred,
            np.square(centred).sum(axis=1),
            np.square(centred.sum(axis=1)),
        ]
    )


def squares(s: Array) -> Squares:
    """Mean squares from sums (m, k + 3) of `columns`; NaN of fewer than two sessions."""
    import numpy as np

    n, each, k = s[:, 0], s[:, 1:-2], s.shape[1] - 3
    n = np.where(n < 2, np.nan, n)
    whole = (s[:, -1] - each.sum(axis=1) ** 2 / n) / (n - 1)
    trace = (s[:, -2] - np.square(each).sum(axis=1) / n) / (n - 1)
    noise = (
        1e-12 * s[:, -2] / n
    )  # below what rounding leaves of sums of squares there is no variance
    rest = (trace - whole / k) / (k - 1)
    between = n * np.var(each / n[:, None], axis=1, ddof=1)
    return Squares(
        np.where(whole <= noise, 0.0, whole) / k, between, np.where(rest <= noise, 0.0, rest), n, k
    )


@dataclass(frozen=True)
class RandomJudges:
    """Intervals for judges drawn at random, sessions independent."""

    icc2_1: Span
    icc2_k: Span


@dataclass(frozen=True)
class Coefficients:
    """How far judges agree; intervals hold for these very judges."""

    icc2_1: Estimate
    icc2_k: Estimate
    icc3_1: Estimate
    icc3_k: Estimate
    random_judges: RandomJudges | None = None
    """Null where there are too few judges to speak of a sample."""


def two_way(
    table: Array, clusters: Clusters, level: float, *, sampled: bool = False
) -> Coefficients:
    """ICC(2,1), ICC(2,k), ICC(3,1), ICC(3,k) of (sessions, judges) without gaps.

    `sampled`: also for judges drawn at random.
    """
    of_chains = clusters.sums(columns(table))
    k, why = table.shape[1], CONSTANT if len(table) > 1 else TOO_FEW
    absolute = estimate(lambda s: squares(s).absolute, of_chains, level, fisher(), why)
    consistent = estimate(lambda s: squares(s).consistent, of_chains, level, fisher(), why)
    drawn = generalized(of_chains.values.sum(axis=0), level) if sampled else None
    return Coefficients(
        absolute,
        of_average(absolute, k),
        consistent,
        of_average(consistent, k),
        RandomJudges(drawn, _averaged(drawn, k)) if drawn else None,
    )


def _averaged(single: Span, k: int) -> Span:
    """Of the mean of k ratings; both ends are 0 or above, so there are such."""
    low, high = (k * end / (1 + (k - 1) * end) for end in (single.low, single.high))
    return Span(low, high)


def generalized(whole: Array, level: float) -> Span | None:
    """Generalized interval of ICC(2,1) where judges are a random sample, from the sums over all
    sessions.

    Weerahandi 1993 (JASA 88:899-905), Ionan et al. 2014 (BMC Med. Res. Methodol. 14:121). McGraw &
    Wong's interval (1996) falls short where judges differ (docs/statistics.md). Its three
    chi-squared variables are taken at points that fill their cube evenly, not drawn.
    """
    import numpy as np

    found = squares(whole[None])
    n, k = float(found.n[0]), found.k
    if not found.rest[0] > 0:  # nor of fewer than two sessions
        return None
    of_sessions, of_judges, of_rest = _chances(n, k)
    rest = found.rest[0] * of_rest
    sessions = np.maximum(found.sessions[0] * of_sessions - rest, 0) / k
    judges = np.maximum(found.judges[0] * of_judges - rest, 0) / n
    low, high = np.quantile(
        sessions / (sessions + judges + rest), [0.5 - level / 2, 0.5 + level / 2]
    )
    return Span(float(low), float(high))


@lru_cache(4)
def _chances(n: float, k: int) -> tuple[Array, Array, Array]:
    """What each mean square is multiplied with at each point: degrees of freedom over
    chi-squared.
    """
    import numpy as np
    from scipy.special import gammaincinv

    place = (0.5 + np.arange(1, POINTS + 1)[:, None] * SPREAD ** -np.arange(1.0, 4.0)) % 1
    sessions, judges, rest = (
        df / (2 * gammaincinv(df / 2, share))
        for df, share in zip((n - 1, k - 1.0, (n - 1) * (k - 1)), place.T, strict=True)
    )
    return sessions, judges, rest
