"""Between judges: how far they agree over the sessions they share, what each adds, and the study's
answer judge by judge.

Fewer than five judges are no sample of judges: they are fixed, intervals hold for these very
judges, and the worst is named.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.asked import Comparison, heads, pairs_of
from cbt_ray.analysis.effect.contrast import Difference, compare
from cbt_ray.analysis.effect.layout import Chains
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.judge.icc import Coefficients, two_way
from cbt_ray.analysis.judge.jackknife import Clusters, estimate, plain

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.judge.crossed import Crossed
    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

SAMPLE = 5
"""Fewer judges than this are fixed."""


@dataclass(frozen=True)
class JudgePair:
    """Two judges over the sessions that both rated; `difference` is a minus b."""

    a: str
    b: str
    sessions: int = 0
    icc2_1: Estimate | None = None
    icc3_1: Estimate | None = None
    difference: Estimate | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class JudgeDifference(Difference):
    """A primary contrast by one judge alone."""

    judge: str


@dataclass(frozen=True, kw_only=True)
class ByJudge(Comparison):
    """A primary contrast by each judge alone."""

    judges: Sequence[JudgeDifference]
    least: str | None
    """The judge that speaks least for the first side."""
    same_sign: bool | None
    """Null where a judge allows no estimate."""


@dataclass(frozen=True)
class LeastFavourable:
    """The judge with the smallest mean contrast, of those that allow every contrast."""

    judge: str
    mean_estimate: float


@dataclass(frozen=True)
class WorstCase:
    """The primary contrasts by each judge alone, on all sessions that it rated.

    An unrated session is left out here whatever the study's policy, since each judge leaves others
    unrated.
    """

    rows: Sequence[ByJudge]
    least_favourable: LeastFavourable | None
    reason: str | None


@dataclass(frozen=True)
class BetweenJudges:
    """Agreement of all judges and of each pair on the total, effects of judges, and the worst
    case.
    """

    judges: Sequence[str]
    """Those who rated."""
    fixed: bool
    """Too few to be a sample of judges."""
    sessions: int = 0
    """Rated by all."""
    agreement: Coefficients | None = None
    effects: Mapping[str, Estimate] = field(default_factory=dict)
    """Judge -> its mean difference from the mean of the others."""
    pairs: Sequence[JudgePair] = ()
    worst_case: WorstCase | None = None
    reason: str | None = None


def between(crossed: Crossed, settings: Settings) -> BetweenJudges:
    """All of it."""
    import numpy as np

    raters = [
        judge for judge in crossed.judges if (crossed.moments(judge, "total").count > 0).any()
    ]
    found = BetweenJudges(raters, fixed=len(raters) < SAMPLE)
    if len(raters) < 2:
        return replace(found, reason=f"needs two judges, found {'one' if raters else 'none'}")
    means = np.column_stack([crossed.moments(judge, "total").mean for judge in raters])
    found = replace(
        found,
        pairs=[
            _pair(raters, a, b, means, crossed, settings)
            for a, b in combinations(range(len(raters)), 2)
        ],
        worst_case=worst_case(crossed, raters, settings),
    )
    shared = ~np.isnan(means).any(axis=1)
    if not shared.any():
        return replace(found, reason="no session was rated by all judges")
    table, clusters, level = means[shared], crossed.clusters.of(shared), settings.level
    return replace(
        found,
        sessions=int(shared.sum()),
        agreement=two_way(table, clusters, level, sampled=not found.fixed),
        effects={judge: _effect(table, clusters, j, level) for j, judge in enumerate(raters)},
    )


def _pair(
    raters: Sequence[str], a: int, b: int, means: Array, crossed: Crossed, settings: Settings
) -> JudgePair:
    import numpy as np

    both = np.asarray(~np.isnan(means[:, [a, b]]).any(axis=1))
    if not both.any():
        return JudgePair(raters[a], raters[b], reason="no session was rated by both")
    table, clusters = means[both][:, [a, b]], crossed.clusters.of(both)
    agreed = two_way(table, clusters, settings.level)
    return JudgePair(
        raters[a],
        raters[b],
        int(both.sum()),
        agreed.icc2_1,
        agreed.icc3_1,
        mean(table[:, 0] - table[:, 1], clusters, settings.level),
    )


def _effect(table: Array, clusters: Clusters, judge: int, level: float) -> Estimate:
    """A judge's mean difference from the mean of the others."""
    import numpy as np

    return mean(table[:, judge] - np.delete(table, judge, axis=1).mean(axis=1), clusters, level)


def mean(values: Array, clusters: Clusters, level: float) -> Estimate:
    """A mean over sessions, with chains as clusters."""
    import numpy as np

    of_chains = clusters.sums(np.column_stack([np.ones_like(values), values]))
    return estimate(lambda s: s[:, 1] / s[:, 0], of_chains, level, plain(), "no session")


def worst_case(crossed: Crossed, raters: Sequence[str], settings: Settings) -> WorstCase:
    """The primary contrasts by each judge alone."""
    facts = crossed.facts
    chains = Chains(facts.assign(chain=crossed.clusters.chain))
    pairs = pairs_of("primary", levels(arms(facts, settings)), settings)
    of_judge = {judge: chains.means(_series(crossed, judge)) for judge in raters}
    rows = []
    for pair, head in zip(pairs, heads(pairs), strict=True):
        own = [
            JudgeDifference(judge=judge, **vars(compare(means, pair.plus, pair.minus, settings)))
            for judge, means in of_judge.items()
        ]
        known = {one.judge: one.estimate for one in own if one.estimate is not None}
        least = min(known, key=lambda judge: known[judge], default=None)
        same_sign = len({found > 0 for found in known.values()}) == 1
        rows.append(
            ByJudge(
                **vars(head),
                judges=own,
                least=least,
                same_sign=same_sign if len(known) == len(own) else None,
            )
        )
    return WorstCase(rows, _least(rows, raters), None if rows else "no primary contrast")


def _series(crossed: Crossed, judge: str) -> pd.Series[float]:
    import pandas as pd

    return pd.Series(crossed.moments(judge, "total").mean)


def _least(rows: Sequence[ByJudge], raters: Sequence[str]) -> LeastFavourable | None:
    found = {}
    for place, judge in enumerate(raters):
        known = [row.judges[place].estimate for row in rows]
        estimates = [estimate for estimate in known if estimate is not None]
        if known and len(estimates) == len(known):
            found[judge] = statistics.fmean(estimates)
    if not found:
        return None
    judge = min(found, key=lambda name: found[name])
    return LeastFavourable(judge, found[judge])
