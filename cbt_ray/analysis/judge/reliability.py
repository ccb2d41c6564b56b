"""Section `reliability`: does a judge repeat itself, do judges agree, do people agree with the
judge.

Replicates of a judge are folded into their session and never count as sessions. Keys:
docs/analysis.md; why these intervals: docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.judge import kappa
from cbt_ray.analysis.judge.agreement import humans
from cbt_ray.analysis.judge.crossed import Crossed
from cbt_ray.analysis.judge.icc import one_way
from cbt_ray.analysis.judge.jackknife import METHOD
from cbt_ray.analysis.judge.judges import between
from cbt_ray.analysis.scores import ITEM, Scores

if TYPE_CHECKING:
    from cbt_ray.analysis.settings import Settings


def reliability(scores: Scores, settings: Settings) -> dict[str, Any]:
    """All of the section, on the ratings of `settings.view`.

    `settings.judge` is whose ratings make the headline.
    """
    crossed = Crossed(scores, settings.view)
    items = list(settings.items) or scores.items
    people = humans(crossed, items, settings)
    return {
        "level": settings.level,
        "method": METHOD,
        "replicates": [_repeated(crossed, judge, items, settings) for judge in crossed.judges],
        "judges": between(crossed, settings),
        "kappa": _kappa(crossed, items, settings),
        "humans": people,
        "notices": people.pop("notices", []),
    }


def _repeated(
    crossed: Crossed, judge: str, items: Sequence[str], settings: Settings
) -> dict[str, Any]:
    def of(column: str) -> dict[str, Any]:
        return one_way(crossed.moments(judge, column), crossed.clusters, settings.level)

    rows = [{"item": item, **of(ITEM + item)} for item in items]
    return {"judge": judge, "kind": crossed.kinds[judge], "total": of("total"), "items": rows}


def _kappa(crossed: Crossed, items: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Per item, for each pair of judges and for each judge's replicates."""
    found: dict[str, Any] = {
        **{
            "weights": "quadratic",
            "categories": [settings.lowest, settings.highest],
            "level": settings.level,
        },
        "pairs": [{"a": a, "b": b, "items": []} for a, b in combinations(crossed.judges, 2)],
        "replicates": [{"judge": judge, "items": []} for judge in crossed.judges],
    }
    for item in items:
        of = {judge: crossed.moments(judge, ITEM + item) for judge in crossed.judges}
        for row in found["pairs"]:
            row["items"].append(
                {
                    "item": item,
                    **kappa.between(of[row["a"]], of[row["b"]], crossed.clusters, settings.level),
                }
            )
        for row in found["replicates"]:
            row["items"].append(
                {"item": item, **kappa.within(of[row["judge"]], crossed.clusters, settings.level)}
            )
    return found
