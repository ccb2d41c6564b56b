"""What was scored: tables per arm and item, distributions, trajectories, ceiling and floor. Descriptions, no inference."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cbt_ray.analysis.scores import ScoreRow, SessionScore
from cbt_ray.analysis.settings import Settings

CROWDED = 0.5
"""Above this share of ratings at one end, an item cannot tell good from better."""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Count, mean, sample SD (n - 1), extremes and median; null where there are too few values."""
    if not values:
        return {"n": 0, "mean": None, "sd": None, "min": None, "max": None, "median": None}
    return {
        "n": len(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
        "median": statistics.median(values),
    }


def arms(sessions: Iterable[SessionScore], settings: Settings) -> list[dict[str, str]]:
    """The arms with their factor levels, in the declared order, else as the scores name them."""
    found = {score.row.arm: score.row for score in sessions}
    order = [arm for arm in settings.arms if arm in found] + [arm for arm in found if arm not in settings.arms]
    return [{"arm": arm, "model": found[arm].model, "variant": found[arm].variant} for arm in order]


def scores(sessions: Sequence[SessionScore], arm_list: Sequence[dict[str, str]], items: Sequence[str]) -> list[dict[str, Any]]:
    """Per arm: how many scheduled and rated, the total and every item."""
    table = []
    for arm in arm_list:
        own = [score for score in sessions if score.row.arm == arm["arm"]]
        totals = [score.total for score in own if score.total is not None]
        table.append(
            {
                **arm,
                "scheduled": len(own),
                "rated": len(totals),
                "total": summary(totals),
                "items": {item: summary([score.items[item] for score in own if item in score.items]) for item in items},
            }
        )
    return table


def distribution(sessions: Sequence[SessionScore], arm_list: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Per arm: how often each total (rounded to a whole number) occurred."""
    counts: dict[str, Counter[int]] = {arm["arm"]: Counter() for arm in arm_list}
    for score in sessions:
        if score.total is not None:
            counts[score.row.arm][round(score.total)] += 1
    return [{"arm": arm, "counts": [[value, count] for value, count in sorted(count.items())]} for arm, count in counts.items()]


def trajectory(sessions: Sequence[SessionScore], arm_list: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Per arm: the mean total at each session number."""
    table = []
    for arm in arm_list:
        by_number: dict[int, list[float]] = {}
        for score in sessions:
            if score.row.arm == arm["arm"] and score.total is not None:
                by_number.setdefault(score.row.session, []).append(score.total)
        points = [{"session": number, **summary(values)} for number, values in sorted(by_number.items())]
        table.append({"arm": arm["arm"], "points": points})
    return table


def ceiling(rows: Sequence[ScoreRow], items: Sequence[str], settings: Settings) -> list[dict[str, Any]]:
    """Per item: share of single ratings at the ends of the scale and at the ends that the judge ever used."""
    table = []
    for item in items:
        counts = Counter(score for row in rows if row.rated and (score := row.items.get(item)) is not None)
        table.append({"item": item, **_ends(counts, settings)})
    return table


def _ends(counts: Counter[int], settings: Settings) -> dict[str, Any]:
    n = sum(counts.values())
    if n == 0:
        names = ("observed_min", "observed_max", "floor", "ceiling", "at_observed_min", "at_observed_max")
        return {"n": 0, **dict.fromkeys(names), "flagged": False}
    low, high = min(counts), max(counts)
    return {
        "n": n,
        "observed_min": low,
        "observed_max": high,
        "floor": counts[settings.lowest] / n,
        "ceiling": counts[settings.highest] / n,
        "at_observed_min": counts[low] / n,
        "at_observed_max": counts[high] / n,
        "flagged": max(counts[low], counts[high]) / n > CROWDED,
    }


def judge(sessions: Sequence[SessionScore]) -> dict[str, Any]:
    """How far a judge's replicates of the same session lie apart (within-session SD, pooled)."""
    repeated = [score.totals for score in sessions if len(score.totals) > 1]
    most = max((len(score.totals) for score in sessions), default=0)
    if not repeated:
        return {"replicates": most, "within_session_sd": None, "reason": "no session was rated more than once"}
    variance = statistics.fmean([statistics.variance(totals) for totals in repeated])
    return {"replicates": most, "within_session_sd": variance**0.5, "reason": None}
