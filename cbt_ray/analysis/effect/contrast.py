"""Contrasts between two arms on means of chains: estimate, error term, interval, and why there is
none.

A contrast's own error term is how its difference varies between patients: (patients - 1) degrees of
freedom, and no assumption that all arms vary alike. On the published scores they do not (standard
deviations of 7 to 14), and the error term pooled over all arms then covers 92 % for one model and
97 % for another. It is also given, as `pooled`. Where an arm was trained with several seeds, these
are a second error term (`seeds`).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect import seeds
from cbt_ray.analysis.effect.asked import Arms, heads, trained
from cbt_ray.analysis.effect.calibration import broken, of_seeds
from cbt_ray.analysis.effect.fitted import law
from cbt_ray.analysis.effect.layout import (
    NO_VARIATION,
    ChainMeans,
    Chains,
    Layout,
    layout,
    weights_of,
)
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.contrast import Pair

if TYPE_CHECKING:
    import pandas as pd

CAVEAT = (
    "Chain means are the observations, so sessions of one chain are not counted as independent."
)
ONE_RUN = (
    "One training run of an arm: inference is to that checkpoint, not to the method of training."
)
SEVERAL_RUNS = (
    "Training seeds are a random level below an arm: inference is to the method of training."
)
FITTED = "fitted variances"
"""The method, as the calibration names it."""
NUMBERS = (
    "estimate",
    "se",
    "df",
    "t",
    "p",
    "low",
    "high",
    "method",
    "error_term",
    "reason",
    "pooled",
    "seed_share",
)


def contrasts(
    table: pd.DataFrame, of: Sequence[Pair], arms: Arms, settings: Settings
) -> list[dict[str, Any]]:
    """A family of contrasts on session rows with a `total` (NaN where a session does not count),
    adjusted by Holm.
    """
    of_chains = Chains(table).means(table["total"])
    everything = layout(of_chains, list(arms))
    known = trained(arms, settings)
    rows = [
        {
            **head,
            "level": settings.level,
            **(found := compare(of_chains, pair.plus, pair.minus, settings, everything)),
            "caveat": _caveat(pair, found["seeds"], known),
        }
        for pair, head in zip(of, heads(of), strict=True)
    ]
    # A withheld p counts as 1: the family was declared beforehand and does not shrink where data
    # are missing.
    adjusted = holm([1.0 if row["p"] is None else row["p"] for row in rows])
    return [
        {**row, "p_adjusted": None if row["p"] is None else p}
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _caveat(pair: Pair, count: Sequence[int], known: set[str]) -> str:
    """What a row's inference is to."""
    once = any(
        arm in known and n < 2 for arm, n in zip((pair.plus, pair.minus), count, strict=True)
    )
    several = max(count) > 1
    return " ".join([CAVEAT, *([SEVERAL_RUNS] * several), *([ONE_RUN] * once)])


def compare(
    of_chains: ChainMeans,
    plus: str,
    minus: str,
    settings: Settings,
    everything: Layout | None = None,
) -> dict[str, Any]:
    """The difference of two arms with its interval.

    `everything` is the layout of all arms, for the pooled error term.
    """
    row: dict[str, Any] = {"patients": 0, "sessions": [0, 0], "seeds": [0, 0]}
    row |= dict.fromkeys(NUMBERS)
    cells = layout(of_chains, (plus, minus))
    row["sessions"] = [of_chains.sessions(group) for group in (plus, minus)]
    row["seeds"] = [of_chains.seeds(group) for group in (plus, minus)]
    for group, there in zip((plus, minus), cells.present, strict=True):
        if not there.any():
            return row | {"reason": f"no rated session of {group}"}
    both = cells.present.all(axis=0)
    row["patients"] = int(both.sum())
    if not both.any():
        means = [statistics.fmean(cells.means[i][cells.present[i]].tolist()) for i in (0, 1)]
        return row | {
            "estimate": means[0] - means[1],
            "reason": "no patient has rated sessions in both",
        }
    weights = weights_of(cells.arms, [plus], [minus])
    row["estimate"] = float(cells.effects(cells.means) @ weights)
    if max(row["seeds"]) > 1:
        return row | _over_seeds(of_chains, plus, minus, settings.level)
    found = _interval(cells, weights, row["estimate"], row["patients"], settings)
    if found["reason"] is None and everything is not None:
        found["pooled"] = _pooled(everything, plus, minus, settings.level)
    return row | found


def _over_seeds(of_chains: ChainMeans, plus: str, minus: str, level: float) -> dict[str, Any]:
    """By patients and training seeds, on the patients that have every seed of both arms."""
    import numpy as np

    sides = [seeds.cells_of(of_chains, arm) for arm in (plus, minus)]
    complete = ~np.isnan(np.vstack(sides)).any(axis=0)
    patients, (one, other) = int(complete.sum()), map(len, sides)
    found: dict[str, Any] = {"patients": patients}
    if patients < 2:
        return found | {
            "reason": "needs 2 patients with rated sessions under every training seed of both, "
            f"found {patients}"
        }
    sides = [side[:, complete] for side in sides]
    found["estimate"] = float(sides[0].mean() - sides[1].mean())
    count = of_chains.count[of_chains.of([plus, minus])]
    problem = broken(of_seeds(one, other), patients, float(count.min() / count.max()))
    if problem:
        return found | {"reason": problem}
    interval = seeds.interval(sides, level)
    if interval is None:
        return found | {
            "reason": "needs differences that vary between patients or training seeds, found none"
        }
    method = f"{seeds.METHOD}: {one} of {plus}, {other} of {minus}"
    return found | interval | {"method": method, "error_term": seeds.ERROR_TERM, "reason": None}


def _interval(
    cells: Layout, weights: Any, estimate: float, patients: int, settings: Settings
) -> dict[str, Any]:
    """By t where the layout is balanced, by its fitted variances where it is not, and only where
    that holds its level.
    """
    if cells.df < 1:
        return {
            "reason": f"needs 2 patients with rated sessions in both, found {patients}: nothing "
            "says how the difference varies "
            "between patients"
        }
    mean_square = float(cells.mean_square(cells.means))
    if mean_square < NO_VARIATION:
        return {
            "reason": "needs differences that vary between patients, found none (the error term is "
            "zero)"
        }
    method = FITTED if cells.unbalanced else "t"
    problem = broken(method, patients, cells.evenness)
    if problem:
        return {"reason": problem}
    se = float((mean_square * (weights @ cells.inverse @ weights)) ** 0.5)
    t = estimate / se
    critical, p = (
        _fitted(cells, weights, t, settings.level)
        if cells.unbalanced
        else _exact(cells.df, t, settings.level)
    )
    said = (
        f"t on chain means, by fitted variances: {cells.unbalanced}"
        if cells.unbalanced
        else "t on chain means"
    )
    return {
        **{
            "se": se,
            "df": cells.df,
            "t": t,
            "p": p,
            "low": estimate - critical * se,
            "high": estimate + critical * se,
        },
        **{"method": said, "error_term": "patient x arm interaction of these two", "reason": None},
    }


def _exact(df: int, t: float, level: float) -> tuple[float, float]:
    """The critical t and p."""
    from scipy.special import stdtr, stdtrit

    return float(stdtrit(df, 0.5 + level / 2)), 2 * float(stdtr(df, -abs(t)))


def _fitted(cells: Layout, weights: Any, t: float, level: float) -> tuple[float, float]:
    """The same under the layout's fitted variances."""
    of = law(cells, weights[None])
    return of.critical(level) ** 0.5, of.tail(t * t)


def _pooled(everything: Layout, plus: str, minus: str, level: float) -> dict[str, Any] | None:
    """The interval with the error term of all arms, exact where all are balanced and vary alike.

    None elsewhere.
    """
    if everything.unbalanced or len(everything.arms) < 3:
        return None
    weights = weights_of(everything.arms, [plus], [minus])
    se = float(
        (everything.mean_square(everything.means) * (weights @ everything.inverse @ weights)) ** 0.5
    )
    estimate = float(everything.effects(everything.means) @ weights)
    critical, p = _exact(everything.df, estimate / se, level)
    return {
        "se": se,
        "df": everything.df,
        "t": estimate / se,
        "p": p,
        "low": estimate - critical * se,
        "high": estimate + critical * se,
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values (Holm 1979, Scand. J. Statist. 6:65-70), in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
