"""What was scored: tables per arm and item, distributions, cells, trajectories.

Descriptions, no inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.scores import FACTOR, ITEM
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


def summary(values: pd.Series[float]) -> dict[str, Any]:
    """Count, mean, sample SD (n - 1), extremes and median; null where there are too few values."""
    known = values.dropna()
    if not len(known):
        return {"n": 0, "mean": None, "sd": None, "min": None, "max": None, "median": None}
    return {
        "n": len(known),
        "mean": float(known.mean()),
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "min": float(known.min()),
        "max": float(known.max()),
        "median": float(known.median()),
    }


def number(value: Any) -> float | None:
    """A finite number, else null: JSON has no NaN."""
    return float(value) if value is not None and math.isfinite(value) else None


def arms(table: pd.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    """The arms with their factor levels and their number of training seeds: in the declared order,
    others by name after them.
    """
    factors = [name for name in table.columns if name.startswith(FACTOR)]
    rows = table[["arm", *factors]].drop_duplicates("arm").to_dict("records")
    found = {str(row["arm"]): row for row in rows}
    seeds = table.groupby("arm", observed=True)["seed"].nunique()
    order = [arm for arm in settings.arms if arm in found] + sorted(
        arm for arm in found if arm not in settings.arms
    )
    return [
        {
            "arm": arm,
            "factors": {
                name.removeprefix(FACTOR): str(found[arm][name])
                for name in factors
                if str(found[arm][name])
            },
            "seeds": int(seeds[arm]),
        }
        for arm in order
    ]


def levels(arm_list: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Arm -> factor -> level, in the order of the arms."""
    return {arm["arm"]: arm["factors"] for arm in arm_list}


def scores(
    sessions: pd.DataFrame, arm_list: Sequence[Mapping[str, Any]], items: Sequence[str]
) -> list[dict[str, Any]]:
    """Per arm: how many scheduled and rated, the total and every item."""
    table = []
    for arm in arm_list:
        own = sessions[sessions["arm"] == arm["arm"]]
        shown = {item: summary(own[ITEM + item]) for item in items if ITEM + item in own}
        table.append(
            {
                **arm,
                "scheduled": len(own),
                "rated": int(own["total"].notna().sum()),
                "total": summary(own["total"]),
                "items": shown,
            }
        )
    return table


def distribution(
    sessions: pd.DataFrame, arm_list: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Per arm: how often each total (rounded to a whole number) occurred."""
    table = []
    for arm in arm_list:
        totals = sessions.loc[sessions["arm"] == arm["arm"], "total"].dropna().round().astype(int)
        counts = totals.value_counts().sort_index()
        table.append(
            {
                "arm": arm["arm"],
                "counts": [
                    [int(value), int(count)]
                    for value, count in zip(counts.index.tolist(), counts.tolist(), strict=True)
                ],
            }
        )
    return table


def cells(sessions: pd.DataFrame, arm_list: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per arm and patient: the mean of the chains' means, and how many sessions each chain rests
    on.
    """
    rated = sessions[sessions["total"].notna()]
    chains = (
        rated.groupby(["arm", "patient", "chain"], observed=True, sort=True)["total"]
        .agg(["mean", "size"])
        .reset_index()
    )
    found: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for arm, patient, _, mean, size in chains.itertuples(index=False):
        found.setdefault((str(arm), str(patient)), []).append((float(mean), int(size)))
    order = {arm["arm"]: place for place, arm in enumerate(arm_list)}
    return [
        {
            "arm": arm,
            "patient": patient,
            "mean": sum(mean for mean, _ in own) / len(own),
            "sessions": [size for _, size in own],
        }
        for (arm, patient), own in sorted(found.items(), key=lambda pair: order[pair[0][0]])
    ]


def trajectory(
    sessions: pd.DataFrame, arm_list: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Per arm: the mean total at each session number."""
    table = []
    for arm in arm_list:
        own = sessions[(sessions["arm"] == arm["arm"]) & sessions["total"].notna()]
        points = [
            {"session": int(str(session)), **summary(totals)}
            for session, totals in own.groupby("session")["total"]
        ]
        table.append({"arm": arm["arm"], "points": points})
    return table
