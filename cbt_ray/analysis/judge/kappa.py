"""Quadratically weighted kappa, between two judges and between replicates of one, as a function of
sums over sessions.

With quadratic weights kappa is 1 - (mean squared difference) / (its expectation by chance), so it
needs means and squares and no table; the number of categories cancels out, and the scale's full
range is implied (Cohen 1968, Psychol. Bull. 70:213-220; it equals Lin's concordance correlation).
Replicates: the mean over all pairs of them. Intervals: jackknife over chains, Fisher's z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.judge.jackknife import TOO_FEW, Clusters, estimate, fisher

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.judge.crossed import Moments

    Array = np.ndarray[Any, np.dtype[Any]]

ALIKE = "every score is the same: kappa does not exist"


@dataclass(frozen=True)
class Kappa(Estimate):
    """Weighted kappa over so many sessions."""

    sessions: int = 0


def between(one: Moments, other: Moments, clusters: Clusters, level: float) -> Kappa:
    """Kappa of two judges over the sessions that both rated, each judge with its own distribution
    of scores.
    """
    import numpy as np

    both = (one.count > 0) & (other.count > 0)
    if not both.any():
        return Kappa(None, reason="no session was rated by both")
    if both.sum() == 1:
        return Kappa(None, reason=TOO_FEW, sessions=1)
    middle = one.mean[both].mean()
    (x, xx), (y, yy) = (_about(middle, scores, both) for scores in (one, other))
    of_chains = clusters.of(both).sums(np.column_stack([np.ones_like(x), x, y, xx, yy, x * y]))
    found = estimate(_between, of_chains, level, fisher(), ALIKE)
    return Kappa(**vars(found), sessions=int(both.sum()))


def within(scores: Moments, clusters: Clusters, level: float) -> Kappa:
    """Kappa of a judge's replicates, which are interchangeable and so share one distribution of
    scores (as in Fleiss 1971).
    """
    import numpy as np

    repeated = scores.count > 1
    if not repeated.any():
        return Kappa(None, reason="no session was rated more than once")
    if repeated.sum() == 1:
        return Kappa(None, reason=TOO_FEW, sessions=1)
    mean, square = _about(scores.mean[repeated].mean(), scores, repeated)
    variance = scores.spread[repeated] / (scores.count[repeated] - 1)
    of_chains = clusters.of(repeated).sums(
        np.column_stack([np.ones_like(mean), mean, square, variance])
    )
    found = estimate(_within, of_chains, level, fisher(), ALIKE)
    return Kappa(**vars(found), sessions=int(repeated.sum()))


def _about(middle: float, scores: Moments, chosen: Array) -> tuple[Array, Array]:
    """Means and mean squares of the chosen sessions about a value, so that rounding does not eat
    small differences.
    """
    mean = scores.mean[chosen] - middle
    return mean, scores.spread[chosen] / scores.count[chosen] + mean**2


def _between(s: Array) -> Array:
    n = s[:, 0]
    x, y = s[:, 1] / n, s[:, 2] / n
    chance = s[:, 3] / n - x**2 + s[:, 4] / n - y**2 + (x - y) ** 2
    return _ratio(2 * (s[:, 5] / n - x * y), chance, s[:, 3] / n)


def _within(s: Array) -> Array:
    n = s[:, 0]
    chance = s[:, 2] / n - (s[:, 1] / n) ** 2
    return _ratio(chance - s[:, 3] / n, chance, s[:, 2] / n)


def _ratio(agreed: Array, chance: Array, size: Array) -> Array:
    """NaN where all scores are the same, but for rounding."""
    import numpy as np

    return np.where(chance > 1e-12 * np.maximum(size, 1e-300), agreed / chance, np.nan)
