"""The primary contrasts by ranks, on chain means within patients: does the answer hang on the scale's distances.

Per contrast: Wilcoxon's signed ranks of the patients' differences with their exact permutation distribution (sign flips), the
same for the plain differences, the Hodges-Lehmann estimate with its exact interval, and the probability of superiority on
sessions. Over all arms: Friedman's test. Hodges & Lehmann 1963 (Ann. Math. Stat. 34:598-611); Lehmann 1975, Nonparametrics.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.contrast import Groups, grouped, holm, primary_pairs
from cbt_ray.analysis.effect.layout import ChainMeans, Chains, layout

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

EXACT = 20
"""Most patients whose sign flips (2^20) are all counted."""
DRAWS = 9_999
AT_ONCE = 4_000_000
SAME = 1e-9
"""Differences closer than this are ties: means of items are not exact in binary."""
METHOD = "signed ranks of the patients' differences of chain means; p from all sign flips"


def ranks(sessions: pd.DataFrame, groups: Groups, settings: Settings) -> dict[str, Any]:
    """Every primary contrast and the omnibus test, on session rows with the totals that count (NaN where they do not)."""
    table = grouped(sessions)
    of_chains = Chains(table).means(table["total"])
    pairs = primary_pairs(groups, settings)
    rows = [_row(label, plus, minus, table, of_chains, groups, settings) for label, plus, minus in pairs]
    for row, adjusted in zip(rows, holm([1.0 if row["p"] is None else row["p"] for row in rows]), strict=True):
        row["p_adjusted"] = None if row["p"] is None else adjusted
        row["note"] = _note(row, len(rows), settings.level)
    return {
        "method": METHOD,
        "rows": rows,
        "friedman": friedman(layout(of_chains, list(groups)).means, settings.seed),
        "reason": None if rows else "no primary contrast",
    }


def _row(
    label: str, plus: str, minus: str, table: pd.DataFrame, of_chains: ChainMeans, groups: Groups, settings: Settings
) -> dict[str, Any]:
    import numpy as np

    means = layout(of_chains, (plus, minus)).means
    difference = (means[0] - means[1])[~np.isnan(means).any(axis=0)] if means.size else np.array([])
    difference = np.where(np.abs(difference) < SAME, 0.0, difference)
    row = {"label": label, "model": groups[plus][0], "treatment": plus, "control": minus, "patients": len(difference)}
    return row | {
        **flips(difference, settings.seed),
        "hodges_lehmann": hodges_lehmann(difference, settings.level),
        "superiority": superiority(table, plus, minus, settings.level),
    }


def _note(row: dict[str, Any], family: int, level: float) -> str | None:
    """What this test cannot say with so few patients, whatever the data."""
    least = row["smallest_p"]
    if least is None or min(1.0, least * family) <= 1 - level:
        return None
    alone = f"With {row['patients']} patients the smallest two-sided p is {least:.3g}"
    after = "" if family == 1 else f", {min(1.0, least * family):.3g} after Holm over {family} contrasts"
    return f"{alone}{after}: this test cannot be significant at {1 - level:.2g} here, however large the difference."


def flips(difference: Array, seed: int) -> dict[str, Any]:
    """Two-sided p of signed ranks (`p`) and of plain differences (`p_differences`) of (patients,) differences.

    Under no effect each patient's sign is a coin: all flips up to 20 patients that differ, above that drawn ones. Zeros are
    left out.
    """
    import numpy as np
    import pandas as pd

    found: dict[str, Any] = dict.fromkeys(("signed_rank", "p", "p_differences", "smallest_p", "exact", "draws", "reason"))
    moved = difference[difference != 0]
    n = len(moved)
    if len(difference) == 0:
        return found | {"reason": "no patient has rated sessions in both"}
    if n == 0:
        return found | {"reason": "no patient's means differ", "smallest_p": 2.0 ** (1 - len(difference))}
    ranked = np.sign(moved) * pd.Series(np.abs(moved).round(9)).rank().to_numpy()
    scores = np.stack([ranked, moved], axis=1)
    exact = n <= EXACT
    p = _all_flips(scores) if exact else _drawn_flips(scores, seed)
    return found | {
        **{"signed_rank": float(ranked[ranked > 0].sum()), "p": float(p[0]), "p_differences": float(p[1])},
        **{"smallest_p": 2.0 ** (1 - len(difference)) if exact else 1 / (DRAWS + 1)},
        **{"exact": exact, "draws": None if exact else DRAWS},
    }


def _all_flips(scores: Array) -> Array:
    """(2,) the share of all sign flips whose sum is as far from zero; by symmetry the first sign is kept."""
    import numpy as np

    total = np.abs(scores[:1]).copy()
    for size in np.abs(scores[1:]):
        total = np.concatenate([total + size, total - size])
    return np.asarray((np.abs(total) >= np.abs(scores.sum(axis=0)) - SAME).mean(axis=0))


def _drawn_flips(scores: Array, seed: int) -> Array:
    import numpy as np

    random, reached, left = np.random.default_rng(seed), np.zeros(scores.shape[1]), DRAWS
    observed = np.abs(scores.sum(axis=0))
    while left:
        size = min(left, max(1, AT_ONCE // len(scores)))
        signs = random.integers(0, 2, (size, len(scores)), dtype=np.int8) * 2.0 - 1.0
        reached += (np.abs(signs @ scores) >= observed * (1 - SAME)).sum(axis=0)
        left -= size
    return np.asarray((reached + 1) / (DRAWS + 1))


def hodges_lehmann(difference: Array, level: float) -> dict[str, Any]:
    """Median of all means of two differences, with the interval that signed ranks give; `level` is what it holds exactly."""
    n = len(difference)
    found: dict[str, Any] = {"value": None, "low": None, "high": None, "level": None}
    if n == 0:
        return found | {"reason": "no patient has rated sessions in both"}
    pairs = n * (n + 1) // 2
    value = (_walsh(difference, (pairs + 1) // 2) + _walsh(difference, pairs // 2 + 1)) / 2
    least = 1 - 2.0 ** (1 - n)
    if least < level:
        return found | {"value": value, "reason": f"with {n} patients no interval by ranks holds more than {least:.1%}"}
    outside, held = _outside(n, level)
    ends = {"low": _walsh(difference, outside), "high": _walsh(difference, pairs + 1 - outside)}
    return found | {"value": value, **ends, "level": held, "reason": None}


def _outside(n: int, level: float) -> tuple[int, float]:
    """Which of the ordered means ends the interval, counted from its side, and the level that it holds."""
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
    """The which-th smallest (from 1) of the means of two, a difference with itself included; by halving, without a list."""
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


def superiority(table: pd.DataFrame, plus: str, minus: str, level: float) -> dict[str, Any]:
    """The probability that a session of `plus` scores higher than one of `minus` with the same patient; a tie is half.

    The mean over patients, each counted alike, with t over patients.
    """
    import numpy as np
    from scipy.special import stdtrit

    found: dict[str, Any] = {"value": None, "low": None, "high": None, "patients": 0}
    rated = table.loc[table["total"].notna() & table["group"].isin([plus, minus]), ["patient", "group", "total"]]
    treated = (rated["group"] == plus).to_numpy()
    rank = rated["total"].round(9).groupby(rated["patient"], observed=True).rank().to_numpy()
    patient = rated["patient"].factorize()[0]
    size = int(patient.max()) + 1 if len(patient) else 0
    a, b = (np.bincount(patient[chosen], minlength=size).astype(float) for chosen in (treated, ~treated))
    won = np.bincount(patient[treated], weights=rank[treated], minlength=size) - a * (a + 1) / 2
    both = (a > 0) & (b > 0)
    share = won[both] / (a * b)[both]
    n = len(share)
    if n == 0:
        return found | {"reason": "no patient has rated sessions in both"}
    found |= {"value": float(share.mean()), "patients": n}
    deviation = float(share.std(ddof=1)) if n > 1 else 0.0
    if deviation < SAME:
        return found | {
            "reason": f"needs patients that differ, found {n} alike" if n > 1 else "needs 2 patients or more, found 1"
        }
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * deviation / math.sqrt(n)
    return found | {"low": max(0.0, found["value"] - half), "high": min(1.0, found["value"] + half), "reason": None}


def friedman(cells: Array, seed: int) -> dict[str, Any]:
    """Do the arms differ at all: Friedman's test on ranks within patients who have every arm; cells (arms, patients).

    p from permutations within patients up to 100 patients, above that from chi-squared. `w`: Kendall's concordance of patients.
    """
    import numpy as np
    import pandas as pd
    from scipy.special import chdtrc

    found: dict[str, Any] = dict.fromkeys(("statistic", "df", "p", "p_chi2", "w", "draws"))
    complete = cells[:, ~np.isnan(cells).any(axis=0)] if cells.size else cells
    arms, patients = complete.shape if complete.ndim == 2 else (0, 0)
    found |= {"patients": patients}
    if arms < 3 or patients < 2:
        return found | {"reason": f"needs 3 arms and 2 patients with all of them, found {arms} and {patients}"}
    ranked = pd.DataFrame(complete.round(9)).rank().to_numpy()
    spread = float(np.square(ranked - (arms + 1) / 2).sum())
    if spread == 0:
        return found | {"reason": "no patient's arms differ"}

    def statistic(of: Array) -> Array:
        return np.asarray((arms - 1) * np.square(of.sum(axis=-1) - patients * (arms + 1) / 2).sum(axis=-1) / spread)

    value = float(statistic(ranked))
    chi2 = float(chdtrc(arms - 1, value))
    found |= {"statistic": value, "df": arms - 1, "p": chi2, "p_chi2": chi2, "w": value / (patients * (arms - 1)), "reason": None}
    if patients > 100:
        return found
    random, reached, left = np.random.default_rng(seed), 0, DRAWS
    while left:
        size = min(left, max(1, AT_ONCE // ranked.size))
        drawn = random.permuted(np.broadcast_to(ranked, (size, *ranked.shape)), axis=1)
        reached += int((statistic(drawn) >= value - SAME).sum())
        left -= size
    return found | {"p": (reached + 1) / (DRAWS + 1), "draws": DRAWS}
