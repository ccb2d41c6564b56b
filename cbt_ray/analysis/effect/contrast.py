"""Contrasts between two groups of arms on means of chains: estimate, error term, interval, and why
there is none.

A contrast's own error term is how its difference varies between patients: (patients - 1) degrees of
freedom, and no assumption that all arms vary alike. On the published scores they do not (standard
deviations of 7 to 14), and the error term pooled over all arms then covers 92 % for one model and
97 % for another. It stands beside as `pooled`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.calibration import broken
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

if TYPE_CHECKING:
    import pandas as pd

CAVEAT = (
    "Chain means are the observations, so sessions of one chain are not counted as independent."
)
ONE_RUN = (
    "One training run per model: inference is to that checkpoint, not to the method of training."
)
TUNED = "tuned"
"""The variant that was trained; of others nobody knows it."""
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
)
Groups = Mapping[str, tuple[str, str]]
"""Group of arms -> its model and variant."""


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """Session rows with `group`: arms of one model and variant (training seeds, say) are compared
    as one.
    """
    return table.assign(group=table["model"].astype(str) + " " + table["variant"].astype(str))


def groups_of(arms: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, str]]:
    """The groups in the order of the arms."""
    return {f"{arm['model']} {arm['variant']}": (arm["model"], arm["variant"]) for arm in arms}


def trained_once(table: pd.DataFrame) -> bool:
    """Were models tuned, and each of them once; on session rows."""
    runs = table.loc[table["variant"] == TUNED].groupby("model", observed=True)["arm"].nunique()
    return bool(len(runs)) and bool((runs == 1).all())


def primary_pairs(groups: Groups, settings: Settings) -> list[tuple[str, str, str]]:
    """(label, treatment, control) per model that has both."""
    models = list(dict.fromkeys(model for model, _ in groups.values()))
    pairs = [
        (model, f"{model} {settings.treatment}", f"{model} {settings.control}") for model in models
    ]
    return [pair for pair in pairs if pair[1] in groups and pair[2] in groups]


def secondary_pairs(groups: Groups, settings: Settings) -> list[tuple[str, str, str]]:
    """(label, one, other) of the treatment's models."""
    treated = [
        (model, group)
        for group, (model, variant) in groups.items()
        if variant == settings.treatment
    ]
    return [(f"{a} - {b}", one, other) for (a, one), (b, other) in combinations(treated, 2)]


def contrasts(
    table: pd.DataFrame, pairs: Sequence[tuple[str, str, str]], groups: Groups, settings: Settings
) -> list[dict[str, Any]]:
    """A family of contrasts on session rows with a `total` (NaN where a session does not count),
    adjusted by Holm.
    """
    of_chains = Chains(grouped(table)).means(table["total"])
    everything = layout(of_chains, list(groups))
    rows = [
        {
            **{
                "label": label,
                "model": groups[plus][0],
                "treatment": plus,
                "control": minus,
                "level": settings.level,
            },
            **compare(of_chains, plus, minus, settings, everything),
            "caveat": " ".join([CAVEAT, *([ONE_RUN] if trained_once(table) else [])]),
        }
        for label, plus, minus in pairs
    ]
    # A withheld p counts as 1: the family was declared beforehand and does not shrink where data
    # are missing.
    adjusted = holm([1.0 if row["p"] is None else row["p"] for row in rows])
    return [
        {**row, "p_adjusted": None if row["p"] is None else p}
        for row, p in zip(rows, adjusted, strict=True)
    ]


def compare(
    of_chains: ChainMeans,
    plus: str,
    minus: str,
    settings: Settings,
    everything: Layout | None = None,
) -> dict[str, Any]:
    """The difference of two groups with its interval.

    `everything` is the layout of all groups, for the pooled error term.
    """
    row: dict[str, Any] = {"patients": 0, "sessions": [0, 0], **dict.fromkeys(NUMBERS)}
    cells = layout(of_chains, (plus, minus))
    row["sessions"] = [of_chains.sessions(group) for group in (plus, minus)]
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
    found = _interval(cells, weights, row["estimate"], row["patients"], settings)
    if found["reason"] is None and everything is not None:
        found["pooled"] = _pooled(everything, plus, minus, settings.level)
    return row | found


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
