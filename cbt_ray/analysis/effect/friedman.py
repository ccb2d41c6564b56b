"""Friedman's test: do arms differ at all, by ranks within patients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.signed_ranks import SAME

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

PERMUTED = 1_000_000
"""Most sums of ranks that are counted for one more patient in Friedman's test."""


@dataclass(frozen=True)
class Friedman:
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
