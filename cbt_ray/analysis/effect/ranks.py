"""The primary contrasts by ranks, on chain means within patients: does the answer hang on the
scale's distances.

Per contrast: Wilcoxon's signed ranks of the patients' differences with their permutation
distribution (sign flips), the same for the plain differences, the Hodges-Lehmann estimate with its
exact interval, and the probability of superiority on sessions. Over all arms: Friedman's test.
Nothing is drawn, so the same scores print the same digits. Hodges & Lehmann 1963 (Ann. Math. Stat.
34:598-611); Lehmann 1975, Nonparametrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.effect.asked import Arms, heads, pairs_of
from cbt_ray.analysis.effect.contrast import holm
from cbt_ray.analysis.effect.layout import ChainMeans, Chains, layout

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.settings import Settings
    from cbt_ray.study.contrast import Pair

    Array = np.ndarray[Any, np.dtype[Any]]

EXACT = 20
"""Most patients whose sign flips (2^20) are listed one by one."""
COUNTED = 100
"""Most patients whose sign flips are counted on a grid; above it their sum is as good as normal."""
GRID = 2000
"""Steps of that grid to the root mean square of the differences; ranks lie on it as they are."""
PERMUTED = 1_000_000
"""Most sums of ranks that are counted for one more patient in Friedman's test."""
SAME = 1e-9
"""Differences closer than this are ties: means of items are not exact in binary."""
NOBODY = "no patient has rated sessions in both"
METHOD = "signed ranks of the patients' differences of chain means; p from the patients' sign flips"


@dataclass(frozen=True)
class Flips(Keyed):
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
class HodgesLehmann(Keyed):
    """Median of all means of two differences, with the interval that signed ranks give."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    """What the interval holds exactly."""
    reason: str | None = None
    """Why there is no value, or no interval."""


@dataclass(frozen=True)
class Superiority(Keyed):
    """The probability that a session of one arm scores higher than one of the other with the same
    patient.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    patients: int = 0
    """Patients with rated sessions in both."""
    reason: str | None = None
    """Why there is no value, or no interval."""


@dataclass(frozen=True)
class Friedman(Keyed):
    """Do the arms differ at all: Friedman's test on ranks within patients who have every arm."""

    patients: int
    """Patients who have every arm."""
    statistic: float | None = None
    df: int | None = None
    p: float | None = None
    """From all permutations within patients, or from F where these are too many."""
    p_chi2: float | None = None
    w: float | None = None
    """Kendall's concordance of patients."""
    exact: bool | None = None
    """All permutations were counted."""
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class RankContrast(Flips):
    """A primary contrast by ranks."""

    contrast: str
    label: str
    plus: str
    minus: str
    where: Mapping[str, str]
    """Factor -> the level that both arms share."""
    patients: int
    """Patients with rated sessions in both."""
    hodges_lehmann: HodgesLehmann
    superiority: Superiority
    p_adjusted: float | None = None
    """By Holm."""
    note: str | None = None
    """What this test cannot say with so few patients, whatever the data."""


@dataclass(frozen=True)
class Ranks(Keyed):
    """The primary contrasts and the omnibus test by ranks."""

    method: str
    rows: Sequence[RankContrast]
    friedman: Friedman
    reason: str | None
    """Why there are no rows."""


def ranks(sessions: pd.DataFrame, arms: Arms, settings: Settings) -> Ranks:
    """Every primary contrast and the omnibus test, on session rows with the totals that count (NaN
    where they do not).
    """
    of_chains = Chains(sessions).means(sessions["total"])
    pairs, rows = pairs_of("primary", arms, settings), []
    for pair, head in zip(pairs, heads(pairs), strict=True):
        difference = _differences(of_chains, pair)
        rows.append(
            RankContrast(
                **head,
                **vars(flips(difference)),
                patients=len(difference),
                hodges_lehmann=hodges_lehmann(difference, settings.level),
                superiority=superiority(sessions, pair.plus, pair.minus, settings.level),
            )
        )
    return Ranks(
        METHOD,
        _adjusted(rows, settings.level),
        friedman(layout(of_chains, list(arms)).means),
        None if rows else "no primary contrast",
    )


def _differences(of_chains: ChainMeans, pair: Pair) -> Array:
    """(patients with both,) differences of the means of chains."""
    import numpy as np

    means = layout(of_chains, (pair.plus, pair.minus)).means
    difference = (means[0] - means[1])[~np.isnan(means).any(axis=0)] if means.size else np.array([])
    return np.where(np.abs(difference) < SAME, 0.0, difference)


def _adjusted(rows: Sequence[RankContrast], level: float) -> list[RankContrast]:
    """The rows with p adjusted, and what they cannot say.

    A p that is not there counts as 1: the family was declared beforehand.
    """
    adjusted = holm([1.0 if row.p is None else row.p for row in rows])
    return [
        replace(row, p_adjusted=None if row.p is None else p, note=_note(row, len(rows), level))
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _note(row: RankContrast, family: int, level: float) -> str | None:
    """What this test cannot say with so few patients, whatever the data."""
    least = row.smallest_p
    if least is None or min(1.0, least * family) <= 1 - level:
        return None
    alone = f"With {row.patients} patients the smallest two-sided p is {least:.3g}"
    after = (
        ""
        if family == 1
        else f", {min(1.0, least * family):.3g} after Holm over {family} contrasts"
    )
    return (
        f"{alone}{after}: this test cannot be significant at {1 - level:.2g} here, however "
        "large the difference."
    )


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
    return _counted_flips(scores, fine) if len(scores) <= COUNTED else _normal_flips(scores)


def _all_flips(scores: Array) -> float:
    """One by one; by symmetry the first sign is kept."""
    import numpy as np

    total = np.abs(scores[:1])
    for size in np.abs(scores[1:]):
        total = np.concatenate([total + size, total - size])
    return float((np.abs(total) >= abs(float(scores.sum())) - SAME).mean())


def _counted_flips(scores: Array, fine: float) -> float:
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
            value, reason=f"with {n} patients no interval by ranks holds more than {least:.1%}"
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
        # partners at or behind each difference whose mean with it is no larger
        held = np.searchsorted(ordered, 2 * middle - ordered, side="right") - place
        if int(np.maximum(held, 0).sum()) >= which:
            high = middle
        else:
            low = middle
        if not low < high:
            break
    return high


def superiority(table: pd.DataFrame, plus: str, minus: str, level: float) -> Superiority:
    """The probability that a session of `plus` scores higher than one of `minus` with the same
    patient; a tie is half.

    The mean over patients, each counted alike, with t over patients.
    """
    from scipy.special import stdtrit

    share = _won(table, plus, minus)
    n = len(share)
    if n == 0:
        return Superiority(reason=NOBODY)
    value, deviation = float(share.mean()), float(share.std(ddof=1)) if n > 1 else 0.0
    if deviation < SAME:
        reason = (
            f"needs patients that differ, found {n} alike"
            if n > 1
            else "needs 2 patients or more, found 1"
        )
        return Superiority(value, patients=n, reason=reason)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * deviation / math.sqrt(n)
    return Superiority(value, max(0.0, value - half), min(1.0, value + half), n)


def _won(table: pd.DataFrame, plus: str, minus: str) -> Array:
    """(patients with both,) share of pairs of sessions in which that of `plus` scores higher."""
    import numpy as np

    rated = table.loc[
        table["total"].notna() & table["arm"].isin([plus, minus]), ["patient", "arm", "total"]
    ]
    first = (rated["arm"] == plus).to_numpy()
    rank = rated["total"].round(9).groupby(rated["patient"], observed=True).rank().to_numpy()
    patient = rated["patient"].factorize()[0]
    size = int(patient.max()) + 1 if len(patient) else 0
    a, b = (
        np.bincount(patient[chosen], minlength=size).astype(float) for chosen in (first, ~first)
    )
    won = np.bincount(patient[first], weights=rank[first], minlength=size) - a * (a + 1) / 2
    both = (a > 0) & (b > 0)
    return np.asarray(won[both] / (a * b)[both])


def friedman(cells: Array) -> Friedman:
    """Friedman's test on cells (arms, patients).

    From all permutations within patients where they can be counted, else from F (Iman & Davenport
    1980, Commun. Stat. A9:571-595).
    """
    import numpy as np
    import pandas as pd
    from scipy.special import chdtrc

    complete = cells[:, ~np.isnan(cells).any(axis=0)] if cells.size else cells
    arms, patients = complete.shape if complete.ndim == 2 else (0, 0)
    if arms < 3 or patients < 2:
        return Friedman(
            patients,
            reason=f"needs 3 arms and 2 patients with all of them, found {arms} and {patients}",
        )
    ranked = pd.DataFrame(complete.round(9)).rank().to_numpy()
    spread = float(np.square(ranked - (arms + 1) / 2).sum())
    if spread == 0:
        return Friedman(patients, reason="no patient's arms differ")
    square = float(np.square(ranked.sum(axis=1) - patients * (arms + 1) / 2).sum())
    value = (arms - 1) * square / spread
    p = _permuted(np.rint(2 * ranked).astype(np.int64), 4 * square)
    return Friedman(
        patients,
        statistic=value,
        df=arms - 1,
        p=_by_f(value, arms, patients) if p is None else p,
        p_chi2=float(chdtrc(arms - 1, value)),
        w=value / (patients * (arms - 1)),
        exact=p is not None,
    )


def _by_f(value: float, arms: int, patients: int) -> float:
    """P of Friedman's statistic from F."""
    from scipy.special import fdtrc

    rest = patients * (arms - 1) - value
    f = (patients - 1) * value / rest if rest > SAME else math.inf
    return float(fdtrc(arms - 1, (arms - 1) * (patients - 1), f))


def _permuted(ranked: Array, square: float) -> float | None:
    """Share of all permutations within patients whose sums of doubled ranks (arms, patients) lie as
    far apart as `square`.

    None where there are too many of them.
    """
    found = _apart(tuple(sorted(tuple(sorted(column)) for column in ranked.T.tolist())))
    return found and float(found[1][found[0] >= square - SAME].sum())


@lru_cache(maxsize=8)
def _apart(ranks_: tuple[tuple[int, ...], ...]) -> tuple[Array, Array] | None:
    """How far apart the arms' sums of these patients' doubled ranks can lie, and the share of
    permutations for each.

    Arms are alike under no effect, so sums are counted in order of size.
    """
    import numpy as np

    arms, patients = len(ranks_[0]), len(ranks_)
    orders, base = math.factorial(arms), 2 * arms * patients + 1
    if orders > PERMUTED or base**arms >= 2**62:
        return None
    share: Array = np.ones(1)
    sums = np.array(ranks_[:1])
    for patient, own in enumerate(ranks_[1:], 2):
        steps, each = np.unique(np.array(list(permutations(own))), axis=0, return_counts=True)
        if patient == patients and len(sums) * len(steps) <= 4 * PERMUTED:
            middle = sums - patients * (arms + 1)
            far = (
                np.square(middle).sum(axis=1)[:, None]
                + np.square(steps).sum(axis=1)
                + 2 * middle @ steps.T
            )
            known, place = np.unique(far.ravel(), return_inverse=True)
            return known, np.bincount(place, weights=np.outer(share, each / orders).ravel())
        if len(sums) * len(steps) > PERMUTED:
            return None
        reached = np.sort((sums[:, None, :] + steps).reshape(-1, arms), axis=1)
        _, first, place = np.unique(
            reached @ base ** np.arange(arms), return_index=True, return_inverse=True
        )
        share = np.bincount(place, weights=np.outer(share, each / orders).ravel())
        sums = reached[first]
    return None
