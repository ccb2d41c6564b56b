"""How totals change over a chain's sessions: the slope of each chain, averaged, with and without
the first session.

A chain's slope is one observation (summary measures: Matthews et al. 1990, BMJ 300:230-235), so
that sessions of a chain are not counted as independent. Session 1 has no summary before it and is
often unlike the others, hence both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


def slopes(
    sessions: pd.DataFrame, arms: Sequence[str], settings: Settings
) -> dict[str, list[dict[str, Any]]]:
    """Per arm the mean slope in points per session with a t interval over patients: of all
    sessions, and without session 1.
    """
    rated = sessions[sessions["total"].notna()]
    parts = {"all": rated, "without_first": rated[rated["session"] > 1]}
    return {
        name: [_arm(part[part["arm"] == arm], arm, settings.level) for arm in arms]
        for name, part in parts.items()
    }


def _arm(own: pd.DataFrame, arm: str, level: float) -> dict[str, Any]:
    from scipy.special import stdtr, stdtrit

    row: dict[str, Any] = {
        "arm": arm,
        **dict.fromkeys(("slope", "se", "df", "t", "p", "low", "high")),
    }
    patients = of_chains(own).groupby(level=0).mean()
    row["patients"] = len(patients)
    if not len(patients):
        return row | {"reason": "no chain with two rated sessions or more"}
    row["slope"] = float(patients.mean())
    if len(patients) < 2:
        return row | {"reason": "needs 2 patients or more, found 1"}
    se, df = float(patients.std(ddof=1)) / len(patients) ** 0.5, len(patients) - 1
    if se < 1e-12:
        return row | {"reason": "all slopes are equal"}
    t, critical = row["slope"] / se, float(stdtrit(df, 0.5 + level / 2))
    ends = {"low": row["slope"] - critical * se, "high": row["slope"] + critical * se}
    return row | {
        "se": se,
        "df": df,
        "t": t,
        "p": 2 * float(stdtr(df, -abs(t))),
        **ends,
        "reason": None,
    }


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
