"""Section `power`: which difference of two arms this design could find, and how to spend
the next study's sessions.

A contrast of two arms rests on chain means. Its variance is 2 (chain + residual / (chains x
sessions)) / patients: what differs between the chains of an arm, and the sessions of a chain. Power
by the noncentral t; never from the observed difference. Two error terms: `own` (how this difference
varies between patients: patients - 1 degrees of freedom, the analysis' headline) and
`pooled` over all arms ((arms - 1)(patients - 1), where all arms vary alike).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.asked import Arms, pairs_of
from cbt_ray.analysis.effect.layout import Chains, layout
from cbt_ray.analysis.effect.policy import counted
from cbt_ray.analysis.scores import ITEM, Scores

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

POWERS = (0.8, 0.9)
NODES = 200
"""Of the quadrature."""
COSTS = (1, 2, 4)
"""Sessions of the next study, as multiples of this one's."""
NOTE = (
    "Assumes that the next study's chains and sessions vary as these do (the mean over arms), and "
    "that sessions of a chain vary "
    "independently around its mean. A chain of fewer sessions covers fewer phases. "
)
SEVERAL = (
    "With several chains per patient and arm, what differs between them is not counted as "
    "averaged out."
)
SEEDS = "Training seeds are averaged: the sizes are about these checkpoints."


@dataclass(frozen=True)
class Variances:
    """Variances of totals, in squared points."""

    chain: float
    """Between chains of one arm (patient x arm interaction and the luck of a chain), without what
    sessions add."""
    residual: float
    """Between sessions of one chain."""
    source: str
    df: int | None = None
    """Degrees of freedom of the mean square that they come from."""

    def bounds(self, level: float) -> tuple[float, float] | None:
        """By what the standard errors would have to be multiplied at both ends of the interval of
        that mean square.
        """
        from scipy.special import chdtri

        if not self.df:
            return None
        low, high = (
            math.sqrt(self.df / float(chdtri(self.df, share)))
            for share in (0.5 - level / 2, 0.5 + level / 2)
        )
        return low, high

    def scaled(self, factor: float) -> Variances:
        """For totals on a range so many times as wide."""
        source = (
            self.source
            if factor == 1
            else f"{self.source}, scaled by {factor:.3g} to this scale's range"
        )
        return Variances(self.chain * factor**2, self.residual * factor**2, source)


PUBLISHED = Variances(
    6.49,
    101.21,
    "moments of the 593 published totals of arXiv 2412.00251 (30 chains, totals 11 to 110)",
)
"""Mean square of the interaction 11.62 on 30 chain means of 19.74 sessions; between patients 0.34,
which contrasts cancel."""
PUBLISHED_RANGE = 99.0


@dataclass(frozen=True)
class Design:
    """A study's size."""

    arms: int
    """Arms of the study."""
    family: int
    """Primary contrasts, over which Holm adjusts."""
    patients: int
    chains: int
    """Chains per patient and arm."""
    sessions: int
    """Sessions per chain."""

    def se(self, variances: Variances) -> float:
        """Standard error of a contrast."""
        cell = variances.chain + variances.residual / (self.chains * self.sessions)
        return math.sqrt(2 * cell / self.patients)

    def df(self, error: str) -> int:
        """Degrees of freedom of an error term, `own` or `pooled`."""
        return (self.patients - 1) * (self.arms - 1 if error == "pooled" else 1)


def power_of(difference: float, se: float, df: int, alpha: float) -> float:
    """Probability that a two-sided t test finds a true difference.

    That of a noncentral t beyond the critical values, as the mean of a normal probability over the
    estimated standard error (scipy's noncentral t has no value for some arguments that occur here).
    """
    from scipy.special import ndtr, stdtrit

    estimated, weights = _errors(df)
    critical, shift = float(stdtrit(df, 1 - alpha / 2)) * estimated, difference / se
    return float(weights @ (ndtr(shift - critical) + ndtr(-shift - critical)))


@cache
def _errors(df: int) -> tuple[Array, Array]:
    """Estimated over true standard error at the nodes of a Gauss-Legendre quadrature over its
    quantiles, and their weights.
    """
    import numpy as np
    from scipy.special import gammaincinv

    nodes, weights = _nodes()
    return np.sqrt(gammaincinv(df / 2, (nodes + 1) / 2) * 2 / df), weights / 2


@cache
def _nodes() -> tuple[Array, Array]:
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights


def smallest(se: float, df: int, alpha: float, power: float) -> float | None:
    """The true difference that is found with this power.

    None without degrees of freedom, or where nothing varies.

    By bisection: importing scipy's root finders takes longer than everything that `plan` does.
    """
    if df < 1 or not se > 0:
        return None
    low, high = 0.0, 2.0
    while power_of(high, 1.0, df, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if power_of(middle, 1.0, df, alpha) < power else (low, middle)
    return se * high


def smallest_rows(design: Design, variances: Variances, level: float) -> list[dict[str, Any]]:
    """The smallest differences of one design: error term x alpha (Holm's first step, and
    unadjusted) x power.

    `low` and `high`: what they would be at the ends of the interval of the variance.
    """
    alphas = {"holm": _alpha(level, design.family), "none": _alpha(level, 1)}
    bounds = variances.bounds(level)
    rows = []
    for error in ("own", "pooled") if design.arms > 2 else ("own",):
        for adjust, alpha in alphas.items():
            for power in POWERS:
                found = smallest(design.se(variances), design.df(error), alpha, power)
                base = {
                    "error_term": error,
                    "df": design.df(error),
                    "adjust": adjust,
                    "alpha": alpha,
                    "power": power,
                }
                low, high = (bounds and found and [found * bound for bound in bounds]) or (
                    None,
                    None,
                )
                rows.append(
                    {
                        **base,
                        "difference": found,
                        "low": low,
                        "high": high,
                        "d": _standardized(found, variances),
                    }
                )
    return rows


def _alpha(level: float, family: int) -> float:
    """Of Holm's first step; rounded, since 1 - 0.95 is not 0.05 in binary."""
    return round(1 - level, 12) / max(1, family)


def _standardized(difference: float | None, variances: Variances) -> float | None:
    """Over the standard deviation of a session within an arm."""
    return (
        None if difference is None else difference / math.sqrt(variances.chain + variances.residual)
    )


def grid(
    design: Design, variances: Variances, level: float, costs: Sequence[int] = COSTS
) -> list[dict[str, Any]]:
    """Patients x sessions at equal cost (sessions per arm) for the next study, with Holm's first
    alpha.
    """
    alpha, rows = _alpha(level, design.family), []
    for cost in costs:
        budget = cost * design.patients * design.sessions
        for patients in (number for number in range(2, budget + 1) if budget % number == 0):
            own = Design(design.arms, design.family, patients, design.chains, budget // patients)
            rows.append(
                {
                    "cost": cost,
                    "patients": patients,
                    "sessions": own.sessions,
                    **_found(own, variances, alpha),
                }
            )
    return rows


def _found(design: Design, variances: Variances, alpha: float) -> dict[str, float | None]:
    se = design.se(variances)
    return {
        f"{error}_{100 * power:.0f}": smallest(se, design.df(error), alpha, power)
        for error in ("own", "pooled")
        for power in POWERS
    }


def power(
    scores: Scores, settings: Settings, *, sessions: pd.DataFrame | None = None
) -> dict[str, Any]:
    """The section, from the variances that the scores show.

    `sessions`: `scores.sessions(view, judge)`, if already there.
    """
    table = scores.sessions(settings.view, settings.judge) if sessions is None else sessions
    items = [item for item in list(settings.items) or scores.items if ITEM + item in table]
    used = counted(table, settings.unrated, len(items), settings)
    found_arms = levels(arms(table, settings))
    family = len(pairs_of("primary", found_arms, settings)) * settings.primary_outcomes
    found: dict[str, Any] = {
        "level": settings.level,
        "family": family,
        "note": NOTE,
        "reason": None,
    }
    found |= {"variances": None, "design": None, "smallest": [], "next": []}
    estimated = components(used, found_arms)
    if isinstance(estimated, str):
        return found | {"reason": estimated}
    variances, design = estimated
    if design.chains > 1:
        found |= {"note": f"{NOTE} {SEVERAL}"}
    if table["seed"].nunique() > 1:
        found["note"] += f" {SEEDS}"
    design = Design(design.arms, family, design.patients, design.chains, design.sessions)
    if not family:
        return found | {
            "variances": asdict(variances),
            "design": asdict(design),
            "reason": "no primary contrast",
        }
    return found | {
        "variances": asdict(variances),
        "design": asdict(design),
        "smallest": smallest_rows(design, variances, settings.level),
        "next": grid(design, variances, settings.level),
    }


def _too_few(present: Array) -> str:
    """Why nothing says how differences vary between patients.

    (arms, patients) that have rated sessions.
    """
    arms, patients = (int(present.any(axis=axis).sum()) for axis in (1, 0))
    if min(arms, patients) < 2:
        return f"needs 2 arms and 2 patients with rated sessions, found {arms} and {patients}"
    return (
        "no two arms share two patients with rated sessions, so nothing says how differences "
        "vary between patients"
    )


def components(used: pd.DataFrame, of: Arms) -> tuple[Variances, Design] | str:
    """Variances by moments on chain means, and the design that was rated; or why there are none."""
    of_chains = Chains(used).means(used["total"])
    cells = layout(of_chains, list(of))
    if not len(of_chains.mean):
        return "no rated session"
    if cells.df < 1:
        return _too_few(cells.present)
    between = float(cells.mean_square(cells.means))
    if between <= 0 or not math.isfinite(between):
        return "needs differences that vary between patients, found none"
    chain = max(0.0, between - cells.within * float(cells.share[cells.present].mean()))
    counts = of_chains.count
    sessions = max(1, round(len(counts) / float((1 / counts).sum())))
    chains = max(1, round(len(counts) / int(cells.present.sum())))
    source = f"moments of these scores: {int(counts.sum())} sessions, {len(counts)} chains"
    return Variances(chain, cells.within, source, cells.df), Design(
        len(of), 0, len(cells.patients), chains, sessions
    )
