"""The primary contrasts by ranks, on chain means within patients: does the answer hang on the
scale's distances.

Per contrast: Wilcoxon's signed ranks of the patients' differences with their permutation
distribution (sign flips), the same for the plain differences, the Hodges-Lehmann estimate with its
exact interval, and the probability of superiority on sessions. Over all arms: Friedman's test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.asked import Arms, Comparison, heads, pairs_of
from cbt_ray.analysis.effect.contrast import holm
from cbt_ray.analysis.effect.friedman import Friedman, friedman
from cbt_ray.analysis.effect.layout import ChainMeans, Chains, layout
from cbt_ray.analysis.effect.signed_ranks import (
    NOBODY,
    SAME,
    Flips,
    HodgesLehmann,
    flips,
    hodges_lehmann,
)
from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.settings import Settings
    from cbt_ray.study.contrast import Pair

    Array = np.ndarray[Any, np.dtype[Any]]

METHOD = "signed ranks of the patients' differences of chain means; p from the patients' sign flips"


@dataclass(frozen=True)
class Superiority:
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


@dataclass(frozen=True, kw_only=True)
class RankContrast(Flips, Comparison):
    """A primary contrast by ranks."""

    patients: int
    """Patients with rated sessions in both."""
    hodges_lehmann: HodgesLehmann
    superiority: Superiority
    p_adjusted: float | None = None
    """By Holm."""
    note: str | None = None
    """What this test cannot say with so few patients, whatever the data."""


@dataclass(frozen=True)
class Ranks:
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
                **vars(head),
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
    alone = f"With {many(row.patients, 'patient')} the smallest two-sided p is {least:.3g}"
    after = (
        ""
        if family == 1
        else f", {min(1.0, least * family):.3g} after Holm over {many(family, 'contrast')}"
    )
    return (
        f"{alone}{after}: this test cannot be significant at {1 - level:.2g} here, however "
        "large the difference."
    )


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
