"""How totals change over a chain's sessions: the slope of each chain, averaged, with and without
the first session.

A chain's slope is one observation (summary measures: Matthews et al. 1990, BMJ 300:230-235), so
that sessions of a chain are not counted as independent. Session 1 has no summary before it and is
often unlike the others, hence both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.effect.interval import by_t
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Slope(Keyed):
    """An arm's mean slope in points per session, with a t interval over patients."""

    arm: str
    slope: float | None = None
    se: float | None = None
    df: int | None = None
    t: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None
    patients: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Slopes(Keyed):
    """One of each arm."""

    all: Sequence[Slope]
    """Over all sessions."""
    without_first: Sequence[Slope]


def slopes(sessions: pd.DataFrame, arms: Sequence[str], settings: Settings) -> Slopes:
    """Of session rows whose `total` is NaN where they do not count."""
    rated = sessions[sessions["total"].notna()]
    later = rated[rated["session"] > 1]
    return Slopes(
        [_slope(rated, arm, settings.level) for arm in arms],
        [_slope(later, arm, settings.level) for arm in arms],
    )


def _slope(rated: pd.DataFrame, arm: str, level: float) -> Slope:
    patients = of_chains(rated[rated["arm"] == arm]).groupby(level=0).mean()
    row = Slope(arm, patients=len(patients))
    if not len(patients):
        return replace(row, reason="no chain with two rated sessions or more")
    slope = float(patients.mean())
    row = replace(row, slope=slope)
    if len(patients) < 2:
        return replace(row, reason="needs 2 patients or more, found 1")
    se, df = float(patients.std(ddof=1)) / len(patients) ** 0.5, len(patients) - 1
    if se < 1e-12:
        return replace(row, reason="all slopes are equal")
    return replace(row, **vars(by_t(slope, se, df, level)))


def of_chains(rated: pd.DataFrame) -> pd.Series[float]:
    """Least-squares slope of each chain with two different session numbers or more, by patient and
    chain.
    """
    keys = [rated["patient"], rated["chain"]]
    x = rated["session"].astype(float)
    x = x - x.groupby(keys, observed=True).transform("mean")
    spread = (x**2).groupby(keys, observed=True).sum()
    rise = (x * rated["total"]).groupby(keys, observed=True).sum()
    return (rise / spread)[spread > 0]
