"""Between judges: how far they agree over the sessions they share, what each adds, and the study's
answer judge by judge.

Fewer than five judges are no sample of judges: they are fixed, intervals hold for these very
judges, and the worst is named.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.asked import heads, pairs_of
from cbt_ray.analysis.effect.contrast import Difference, compare
from cbt_ray.analysis.effect.layout import Chains
from cbt_ray.analysis.judge.icc import two_way
from cbt_ray.analysis.judge.jackknife import Clusters, estimate, plain

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.judge.crossed import Crossed
    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

SAMPLE = 5
"""Fewer judges than this are fixed."""


@dataclass(frozen=True, kw_only=True)
class JudgeDifference(Difference):
    """A primary contrast by one judge alone."""

    judge: str


def between(crossed: Crossed, settings: Settings) -> dict[str, Any]:
    """Agreement of all judges and of each pair on the total, effects of judges, and the worst
    case.
    """
    import numpy as np

    raters = [
        judge for judge in crossed.judges if (crossed.moments(judge, "total").count > 0).any()
    ]
    found: dict[str, Any] = {
        "judges": [{"judge": judge, "kind": crossed.kinds[judge]} for judge in raters],
        "fixed": len(raters) < SAMPLE,
        **{
            "sessions": 0,
            "agreement": None,
            "effects": [],
            "pairs": [],
            "worst_case": None,
            "reason": None,
        },
    }
    if len(raters) < 2:
        return found | {
            "reason": "needs two judges, found one" if raters else "needs two judges, found none"
        }
    means = np.column_stack([crossed.moments(judge, "total").mean for judge in raters])
    pairs = [
        _pair(raters, a, b, means, crossed, settings)
        for a, b in combinations(range(len(raters)), 2)
    ]
    found |= {"pairs": pairs, "worst_case": worst_case(crossed, raters, settings)}
    shared = ~np.isnan(means).any(axis=1)
    if not shared.any():
        return found | {"reason": "no session was rated by all judges"}
    table, clusters = means[shared], crossed.clusters.of(shared)
    return found | {
        "sessions": int(shared.sum()),
        "agreement": _fixed(two_way(table, clusters, settings.level), len(raters)),
        "effects": [
            {"judge": judge, **_effect(table, clusters, j, settings.level)}
            for j, judge in enumerate(raters)
        ],
    }


def _fixed(agreement: dict[str, Any], judges: int) -> dict[str, Any]:
    """Without the interval for judges drawn at random where there are too few to speak of a
    sample.
    """
    if judges >= SAMPLE:
        return agreement
    return {
        name: found | {"random_judges": None} if "random_judges" in found else found
        for name, found in agreement.items()
    }


def _pair(
    raters: Sequence[str], a: int, b: int, means: Array, crossed: Crossed, settings: Settings
) -> dict[str, Any]:
    import numpy as np

    both = np.asarray(~np.isnan(means[:, [a, b]]).any(axis=1))
    row: dict[str, Any] = {
        "a": raters[a],
        "b": raters[b],
        "sessions": int(both.sum()),
        "icc2_1": None,
        "icc3_1": None,
    }
    if not both.any():
        return row | {"difference": None, "reason": "no session was rated by both"}
    table, clusters = means[both][:, [a, b]], crossed.clusters.of(both)
    agreement = _fixed(two_way(table, clusters, settings.level), 2)
    return row | {
        **{name: agreement[name] for name in ("icc2_1", "icc3_1")},
        **{"difference": mean(table[:, 0] - table[:, 1], clusters, settings.level), "reason": None},
    }


def _effect(table: Array, clusters: Clusters, judge: int, level: float) -> dict[str, Any]:
    """A judge's mean difference from the mean of the others."""
    import numpy as np

    return mean(table[:, judge] - np.delete(table, judge, axis=1).mean(axis=1), clusters, level)


def mean(values: Array, clusters: Clusters, level: float) -> dict[str, Any]:
    """A mean over sessions, with chains as clusters."""
    import numpy as np

    of_chains = clusters.sums(np.column_stack([np.ones_like(values), values]))
    return estimate(lambda s: s[:, 1] / s[:, 0], of_chains, level, plain(), "no session")


def worst_case(crossed: Crossed, raters: Sequence[str], settings: Settings) -> dict[str, Any]:
    """The primary contrasts by each judge alone, on all sessions that it rated.

    Named is who speaks least for the first side.

    An unrated session is left out here whatever the study's policy, since each judge leaves others
    unrated.
    """
    facts = crossed.facts
    chains = Chains(facts.assign(chain=crossed.clusters.chain))
    pairs = pairs_of("primary", levels(arms(facts, settings)), settings)
    of_judge = {judge: chains.means(_series(crossed, judge)) for judge in raters}
    rows = []
    for pair, head in zip(pairs, heads(pairs), strict=True):
        own = [
            JudgeDifference(
                judge=judge, **vars(compare(of_judge[judge], pair.plus, pair.minus, settings))
            )
            for judge in raters
        ]
        known = [row for row in own if row["estimate"] is not None]
        least = min(known, key=lambda row: float(row["estimate"]), default=None)
        rows.append(
            {
                **head,
                "judges": own,
                "least": least
                and {
                    name: least[name]
                    for name in ("judge", "estimate", "low", "high", "p", "reason")
                },
                "same_sign": len({row["estimate"] > 0 for row in known}) == 1
                if len(known) == len(own)
                else None,
            }
        )
    return {
        "policy": "missing",
        "rows": rows,
        "least_favourable": _least(rows, raters),
        "reason": None if rows else "no primary contrast",
    }


def _series(crossed: Crossed, judge: str) -> Any:
    import pandas as pd

    return pd.Series(crossed.moments(judge, "total").mean)


def _least(rows: Sequence[dict[str, Any]], raters: Sequence[str]) -> dict[str, Any] | None:
    """The judge with the smallest mean contrast, of those that allow every contrast."""
    found = {}
    for judge in raters:
        estimates = [
            row["estimate"] for line in rows for row in line["judges"] if row["judge"] == judge
        ]
        if estimates and None not in estimates:
            found[judge] = statistics.fmean(estimates)
    if not found:
        return None
    judge = min(found, key=lambda name: found[name])
    return {"judge": judge, "mean_estimate": found[judge]}
