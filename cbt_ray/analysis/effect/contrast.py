"""Contrasts between two arms on means of chains: estimate, error term, interval, and why there is
none.

A contrast's own error term is how its difference varies between patients: (patients - 1) degrees of
freedom, and no assumption that all arms vary alike. On the published scores they do not (standard
deviations of 7 to 14), and the error term pooled over all arms then covers 92 % for one model and
97 % for another. It is also given, as `pooled`. Where an arm was trained with several seeds, these
are a second error term (`seeds`). Flags, shares and counts have intervals of their own (`tally`).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect import seeds
from cbt_ray.analysis.effect.asked import Arms, Comparison, heads, trained
from cbt_ray.analysis.effect.calibration import broken, of_seeds
from cbt_ray.analysis.effect.fitted import law
from cbt_ray.analysis.effect.interval import Interval, around, by_t
from cbt_ray.analysis.effect.layout import (
    NO_VARIATION,
    ChainMeans,
    Chains,
    Layout,
    layout,
    weights_of,
)
from cbt_ray.analysis.effect.tally import compared, tallies
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.contrast import Pair

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

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


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two arms, or of two other groups of chains."""

    patients: int = 0
    """In both."""
    sessions: tuple[int, int]
    seeds: tuple[int, int]
    """Of each."""
    estimate: float | None = None
    se: float | None = None
    df: float | None = None
    t: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None
    method: str | None = None
    error_term: str | None = None
    reason: str | None = None
    """Why there is no interval."""
    pooled: Interval | None = None
    """With the error term of all arms."""
    seed_share: float | None = None
    """Share of the squared standard error that training seeds add; null where each arm has one."""


@dataclass(frozen=True, kw_only=True)
class Contrasted(Difference, Comparison):
    """A pair of arms and its difference."""

    level: float


@dataclass(frozen=True, kw_only=True)
class Effect(Contrasted):
    """One contrast of a family on totals."""

    caveat: str
    """What its inference is to."""
    p_adjusted: float | None
    """By Holm."""


def contrasts(
    table: pd.DataFrame, of: Sequence[Pair], arms: Arms, settings: Settings
) -> list[Effect]:
    """A family of contrasts on session rows with a `total` (NaN where a session does not count),
    adjusted by Holm.
    """
    of_chains = Chains(table).means(table["total"])
    everything = layout(of_chains, list(arms))
    known = trained(arms, settings)
    found = [compare(of_chains, pair.plus, pair.minus, settings, everything) for pair in of]
    # A withheld p counts as 1: the family was declared beforehand and does not shrink where data
    # are missing.
    adjusted = holm([1.0 if one.p is None else one.p for one in found])
    return [
        Effect(
            **vars(head),
            **vars(one),
            level=settings.level,
            caveat=_caveat(pair, one.seeds, known),
            p_adjusted=None if one.p is None else p,
        )
        for pair, head, one, p in zip(of, heads(of), found, adjusted, strict=True)
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
) -> Difference:
    """The difference of two arms with its interval.

    `everything` is the layout of all arms, for the pooled error term.
    """
    cells = layout(of_chains, (plus, minus))
    found = Difference(
        sessions=(of_chains.sessions(plus), of_chains.sessions(minus)),
        seeds=(of_chains.seeds(plus), of_chains.seeds(minus)),
    )
    for group, there in zip((plus, minus), cells.present, strict=True):
        if not there.any():
            return replace(found, reason=f"no rated session of {group}")
    both = cells.present.all(axis=0)
    if not both.any():
        means = [statistics.fmean(cells.means[i][cells.present[i]].tolist()) for i in (0, 1)]
        reason = "no patient has rated sessions in both"
        return replace(found, estimate=means[0] - means[1], reason=reason)
    weights = weights_of(cells.arms, [plus], [minus])
    estimate = float(cells.effects(cells.means) @ weights)
    found = replace(found, patients=int(both.sum()), estimate=estimate)
    if settings.kind != "score":
        return _of_tallies(found, of_chains, (plus, minus), settings)
    if max(found.seeds) > 1:
        return _over_seeds(found, of_chains, (plus, minus), settings.level)
    found = _over_patients(found, cells, weights, settings.level)
    if found.reason is None and everything is not None:
        return replace(found, pooled=_pooled(everything, plus, minus, settings.level))
    return found


def _of_tallies(
    found: Difference, of_chains: ChainMeans, arms: tuple[str, str], settings: Settings
) -> Difference:
    """By the intervals that fit a flag, a share or a count."""
    sides = tallies(of_chains, arms, settings)
    found = replace(found, patients=len(sides[0].own))
    problem = _too_few(found, of_chains, arms)
    known = problem or compared(sides[0], sides[1], settings)
    return replace(found, **({"reason": known} if isinstance(known, str) else vars(known)))


def _over_seeds(
    found: Difference, of_chains: ChainMeans, arms: tuple[str, str], level: float
) -> Difference:
    """By patients and training seeds, on the patients that have every seed of both arms."""
    import numpy as np

    sides = [seeds.cells_of(of_chains, arm) for arm in arms]
    complete = ~np.isnan(np.vstack(sides)).any(axis=0)
    found = replace(found, patients=int(complete.sum()))
    if found.patients > 1:
        sides = [side[:, complete] for side in sides]
        found = replace(found, estimate=float(sides[0].mean() - sides[1].mean()))
    if problem := _too_few(found, of_chains, arms):
        return replace(found, reason=problem)
    interval = seeds.interval(sides, level)
    if interval is None:
        reason = "needs differences that vary between patients or training seeds, found none"
        return replace(found, reason=reason)
    one, other = found.seeds
    method = f"{seeds.METHOD}: {one} of {arms[0]}, {other} of {arms[1]}"
    return replace(found, **vars(interval), method=method, error_term=seeds.ERROR_TERM)


def _too_few(found: Difference, of_chains: ChainMeans, arms: tuple[str, str]) -> str | None:
    """Why there is no interval over these patients and training seeds."""
    several = max(found.seeds) > 1
    if found.patients < 2:
        of = "under every training seed of both" if several else "in both"
        return f"needs 2 patients with rated sessions {of}, found {found.patients}"
    if not several:
        return None
    count = of_chains.count[of_chains.of(arms)]
    evenness = float(count.min() / count.max())
    return broken(of_seeds(*found.seeds), found.patients, evenness)


def _over_patients(found: Difference, cells: Layout, weights: Array, level: float) -> Difference:
    """By t where the layout is balanced, by its fitted variances where it is not, and only where
    that holds its level.
    """
    problem = _problem(cells, found.patients)
    if problem or found.estimate is None:
        return replace(found, reason=problem)
    se = float((cells.mean_square(cells.means) * (weights @ cells.inverse @ weights)) ** 0.5)
    method, interval = "t on chain means", by_t(found.estimate, se, cells.df, level)
    if cells.unbalanced:
        method += f", by fitted variances: {cells.unbalanced}"
        of = _fitted(cells, weights, interval.t, level)
        interval = around(found.estimate, se, cells.df, of)
    error_term = "patient x arm interaction of these two"
    return replace(found, **vars(interval), method=method, error_term=error_term)


def _problem(cells: Layout, patients: int) -> str | None:
    """Why there is no interval."""
    if cells.df < 1:
        return (
            f"needs 2 patients with rated sessions in both, found {patients}: nothing says how the "
            "difference varies between patients"
        )
    if float(cells.mean_square(cells.means)) < NO_VARIATION:
        return "needs differences that vary between patients, found none (the error term is zero)"
    return broken(FITTED if cells.unbalanced else "t", patients, cells.evenness)


def _fitted(cells: Layout, weights: Array, t: float, level: float) -> tuple[float, float]:
    """The critical t and p under the layout's fitted variances."""
    of = law(cells, weights[None])
    return of.critical(level) ** 0.5, of.tail(t * t)


def _pooled(everything: Layout, plus: str, minus: str, level: float) -> Interval | None:
    """The interval with the error term of all arms, exact where all are balanced and vary alike.

    None elsewhere.
    """
    if everything.unbalanced or len(everything.arms) < 3:
        return None
    weights = weights_of(everything.arms, [plus], [minus])
    square = everything.mean_square(everything.means)
    se = float((square * (weights @ everything.inverse @ weights)) ** 0.5)
    estimate = float(everything.effects(everything.means) @ weights)
    return by_t(estimate, se, everything.df, level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values (Holm 1979, Scand. J. Statist. 6:65-70), in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
