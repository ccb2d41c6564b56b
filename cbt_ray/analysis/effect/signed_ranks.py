"""Two arms within the same patients by signed ranks of (patients,) differences: p from the
patients' sign flips, and the Hodges-Lehmann estimate with its exact interval.

Nothing is drawn, so the same scores print the same digits. Hodges & Lehmann 1963 (Ann. Math. Stat.
34:598-611); Lehmann 1975, Nonparametrics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

EXACT = 20
"""Most patients whose sign flips (2^20) are listed one by one."""
COUNTED = 100
"""Most patients whose sign flips are counted on a grid; above it their sum is as good as normal."""
GRID = 2000
"""Steps of that grid to the root mean square of the differences; ranks lie on it as they are."""
SAME = 1e-9
"""Differences closer than this are ties: means of items are not exact in binary."""
NOBODY = "no patient has rated sessions in both"


@dataclass(frozen=True)
class Flips:
    """Two-sided p by the sign flips of the patients' differences."""

    signed_rank: float | None = None
    """The sum of the positive ranks."""
    p: float | None = None
    """Of signed ranks."""
    p_differences: float | None = None
    """Of the plain differences."""
    smallest_p: float | None = None
    """The smallest p that so many patients can have."""
    exact: bool | None = None
    """All flips were counted."""
    reason: str | None = None


@dataclass(frozen=True)
class HodgesLehmann:
    """Median of all means of two differences, with the interval that signed ranks give."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    """What the interval holds exactly."""
    reason: str | None = None
    """Why there is no value, or no interval."""


def flips(difference: Array) -> Flips:
    """Two-sided p of signed ranks and of plain differences of (patients,) differences.

    Under no effect each patient's sign is a coin. All flips of the patients that differ are counted
    (up to 100); above that the sum of signs is taken as normal, with its fourth moment. Zeros are
    left out.
    """
    import numpy as np
    import pandas as pd

    moved = difference[difference != 0]
    n = len(moved)
    if len(difference) == 0:
        return Flips(reason=NOBODY)
    least = 2.0 ** (1 - len(difference))
    if n == 0:
        return Flips(smallest_p=least, reason="no patient's means differ")
    ranked = np.sign(moved) * pd.Series(np.abs(moved).round(9)).rank().to_numpy()
    return Flips(
        signed_rank=float(ranked[ranked > 0].sum()),
        p=_flipped(ranked, 2.0),
        p_differences=_flipped(moved, GRID / float(np.sqrt(np.square(moved).mean()))),
        smallest_p=least,
        exact=n <= COUNTED,
    )


def _flipped(scores: Array, fine: float) -> float:
    """The share of all sign flips whose sum is as far from zero.

    `fine`: steps of the grid to one point.
    """
    if len(scores) <= EXACT:
        return _all_flips(scores)
    return counted_flips(scores, fine) if len(scores) <= COUNTED else _normal_flips(scores)


def _all_flips(scores: Array) -> float:
    """One by one; by symmetry the first sign is kept."""
    import numpy as np

    total = np.abs(scores[:1])
    for size in np.abs(scores[1:]):
        total = np.concatenate([total + size, total - size])
    return float((np.abs(total) >= abs(float(scores.sum())) - SAME).mean())


def counted_flips(scores: Array, fine: float) -> float:
    """By the distribution of their sum on a grid."""
    import numpy as np

    steps = np.rint(np.abs(scores) * fine).astype(int)
    share = np.ones(1)  # of the flips whose positive part adds up to each number of steps
    for size in steps:
        share = (np.pad(share, (0, size)) + np.pad(share, (size, 0))) / 2
    positive = int(steps[scores > 0].sum())
    middle = int(steps.sum()) / 2
    far = np.abs(np.arange(len(share)) - middle) >= abs(positive - middle) - SAME
    return float(share[far].sum())


def _normal_flips(scores: Array) -> float:
    """By a normal distribution with the sum's second and fourth moments (Edgeworth)."""
    import numpy as np
    from scipy.special import ndtr

    second, fourth = float(np.square(scores).sum()), float((scores**4).sum())
    z = abs(float(scores.sum())) / math.sqrt(second)
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    tail = float(ndtr(-z)) - density * (fourth / second**2 / 12) * (z**3 - 3 * z)
    return min(1.0, max(0.0, 2 * tail))


def hodges_lehmann(difference: Array, level: float) -> HodgesLehmann:
    """The median of all means of two (patients,) differences, with its interval."""
    n = len(difference)
    if n == 0:
        return HodgesLehmann(reason=NOBODY)
    pairs = n * (n + 1) // 2
    value = (_walsh(difference, (pairs + 1) // 2) + _walsh(difference, pairs // 2 + 1)) / 2
    least = 1 - 2.0 ** (1 - n)
    if least < level:
        return HodgesLehmann(
            value,
            reason=f"with {many(n, 'patient')} no interval by ranks holds more than {least:.1%}",
        )
    outside, held = _outside(n, level)
    low, high = (_walsh(difference, which) for which in (outside, pairs + 1 - outside))
    return HodgesLehmann(value, low, high, held)


def _outside(n: int, level: float) -> tuple[int, float]:
    """Which of the ordered means ends the interval, counted from its side, and the level that it
    holds.
    """
    import numpy as np
    from scipy.special import ndtri

    pairs = n * (n + 1) // 2
    if n > 100:
        step = float(ndtri(0.5 + level / 2)) * math.sqrt(pairs * (2 * n + 1) / 12)
        return max(1, math.floor(pairs / 2 - step)), level
    counts = np.ones(1)
    for rank in range(1, n + 1):
        counts = np.pad(counts, (0, rank)) + np.pad(counts, (rank, 0))
    below = np.cumsum(counts) / 2.0**n
    outside = int(np.searchsorted(below, (1 - level) / 2, side="right"))
    return outside, float(1 - 2 * below[outside - 1])


def _walsh(difference: Array, which: int) -> float:
    """The which-th smallest (from 1) of the means of two, a difference with itself included.

    By halving, without a list.
    """
    import numpy as np

    ordered = np.sort(difference)
    place = np.arange(len(ordered))
    low, high = float(ordered[0]), float(ordered[-1])
    for _ in range(80):
        middle = low + (high - low) / 2
        # partners at or after each difference whose mean with it is no larger
        held = np.searchsorted(ordered, 2 * middle - ordered, side="right") - place
        if int(np.maximum(held, 0).sum()) >= which:
            high = middle
        else:
            low = middle
        if not low < high:
            break
    return high
