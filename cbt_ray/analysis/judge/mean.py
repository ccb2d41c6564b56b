"""Means over chains, with intervals that a handful of chains can bear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.analysis.estimate import Estimate

NO_VARIATION = 1e-12
FEW = 5
"""Below so many chains equal values are taken for chance, not for certainty: scores are whole
numbers."""


@dataclass(frozen=True)
class Mean(Estimate):
    """A mean over chains; there is always one.

    Why it has no interval: `one_chain`, `no_variation`, `unbounded`.
    """

    value: float

    @property
    def percent(self) -> str:
        """As a reader takes it, a share."""
        return f"{self.value:.1%}" + (
            f" ({self.low:.1%} to {self.high:.1%})"
            if self.low is not None and self.high is not None
            else ""
        )

    @property
    def number(self) -> str:
        """As a reader takes it, two decimals."""
        return f"{self.value:.2f}" + (
            f" ({self.low:.2f} to {self.high:.2f})"
            if self.low is not None and self.high is not None
            else ""
        )


def mean_over_chains(values: Sequence[tuple[str, float]], level: float) -> Mean:
    """Mean of the chains' means with a t interval.

    `values` are (chain, value of one session), at least one.

    The sessions of a chain share therapist and patient, so a chain counts once however many of its
    sessions were drawn.
    """
    means = _chain_means(values)
    value, count = math.fsum(means) / len(means), len(means)
    if count < 2:
        return Mean(value, None, None, "one_chain")
    if count < FEW and _variance(means) <= NO_VARIATION:
        return Mean(value, None, None, "no_variation")
    half = _t(level, count - 1) * math.sqrt(_variance(means) / count)
    return Mean(value, value - half, value + half)


def difference(
    one: Sequence[tuple[str, float]], other: Sequence[tuple[str, float]], level: float
) -> Mean:
    """Difference of two groups' means over chains, one minus other, with Welch's interval.

    Both hold at least one value.
    """
    groups = [_chain_means(one), _chain_means(other)]
    ours, theirs = (math.fsum(group) / len(group) for group in groups)
    if min(map(len, groups)) < 2:
        return Mean(ours - theirs, None, None, "one_chain")
    shares = [_variance(group) / len(group) for group in groups]
    square = math.fsum(shares)
    if square <= NO_VARIATION:
        known = None if sum(map(len, groups)) < FEW else ours - theirs
        return Mean(ours - theirs, known, known, "no_variation" if known is None else None)
    freedom = square**2 / math.fsum(
        share**2 / (len(group) - 1) for share, group in zip(shares, groups, strict=True)
    )
    half = _t(level, freedom) * math.sqrt(square)
    return Mean(ours - theirs, ours - theirs - half, ours - theirs + half)


def ratio(values: Sequence[tuple[str, float, float]], level: float) -> Mean | None:
    """Ratio of two paired means over chains, Fieller's interval.

    `values` are (chain, above, below). None where below is 0.
    """
    above = _chain_means([(chain, top) for chain, top, _ in values])
    below = _chain_means([(chain, bottom) for chain, _, bottom in values])
    count = len(above)
    top, bottom = math.fsum(above) / count, math.fsum(below) / count
    if bottom <= NO_VARIATION:
        return None
    if count < 2:
        return Mean(top / bottom, None, None, "one_chain")
    if count < FEW and max(_variance(above), _variance(below)) <= NO_VARIATION:
        return Mean(top / bottom, None, None, "no_variation")
    t2 = _t(level, count - 1) ** 2 / count
    both = math.fsum((a - top) * (b - bottom) for a, b in zip(above, below, strict=True)) / (
        count - 1
    )
    a, b, c = (
        bottom**2 - t2 * _variance(below),
        top * bottom - t2 * both,
        top**2 - t2 * _variance(above),
    )
    if a <= 0:
        return Mean(top / bottom, None, None, "unbounded")
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Mean(top / bottom, (b - root) / a, (b + root) / a)


def wilson(hits: int, count: int, level: float) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927); `count` at least one."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _chain_means(values: Sequence[tuple[str, float]]) -> list[float]:
    """The mean of each chain, in the order of their first values."""
    chains: dict[str, list[float]] = {}
    for chain, value in values:
        chains.setdefault(chain, []).append(value)
    return [math.fsum(found) / len(found) for found in chains.values()]


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _t(level: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, freedom))
