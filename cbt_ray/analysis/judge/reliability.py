"""Section `reliability`: does a judge repeat itself, do judges agree, do people agree with the
judge.

Replicates of a judge are folded into their session and never count as sessions. Keys:
docs/analysis.md; why these intervals: docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from cbt_ray.analysis.judge import kappa
from cbt_ray.analysis.judge.agreement import Humans, humans
from cbt_ray.analysis.judge.crossed import Crossed
from cbt_ray.analysis.judge.icc import Repeatability, one_way
from cbt_ray.analysis.judge.jackknife import METHOD
from cbt_ray.analysis.judge.judges import BetweenJudges, between
from cbt_ray.analysis.judge.kappa import Kappa
from cbt_ray.analysis.judge.learned import LearnedJudge, learned
from cbt_ray.analysis.notice import Notice
from cbt_ray.analysis.scores import ITEM, Scores

if TYPE_CHECKING:
    from cbt_ray.analysis.settings import Settings


@dataclass(frozen=True)
class JudgeRepeats:
    """Does a judge repeat itself, on the total and on each item."""

    judge: str
    kind: str
    """`model` or `human`."""
    total: Repeatability
    items: Mapping[str, Repeatability]


@dataclass(frozen=True)
class ItemKappas:
    """Kappa of each item: of two judges, or of one judge's replicates."""

    judges: Sequence[str]
    items: Mapping[str, Kappa]


@dataclass(frozen=True)
class Reliability:
    """Of judges, on the ratings of the headline's view."""

    level: float
    method: str
    """Of all its intervals."""
    replicates: Sequence[JudgeRepeats]
    judges: BetweenJudges
    kappa: Sequence[ItemKappas]
    """Quadratic weights over the scale's full range."""
    humans: Humans
    notices: Sequence[Notice]
    learned: Sequence[LearnedJudge] = ()
    """Whether judges that learned from people agree with them on patients that were held out."""


def reliability(scores: Scores, settings: Settings) -> Reliability:
    """All of the section, on the ratings of `settings.view`.

    `settings.judge` is whose ratings make the headline.
    """
    crossed = Crossed(scores, settings.view)
    items = list(settings.items) or scores.items
    people, notices = humans(crossed, items, settings)
    return Reliability(
        level=settings.level,
        method=METHOD,
        replicates=[_repeated(crossed, judge, items, settings) for judge in crossed.judges],
        judges=between(crossed, settings),
        kappa=_kappa(crossed, items, settings),
        humans=people,
        notices=notices,
        learned=learned(scores, settings),
    )


def _repeated(
    crossed: Crossed, judge: str, items: Sequence[str], settings: Settings
) -> JudgeRepeats:
    def of(column: str) -> Repeatability:
        return one_way(crossed.moments(judge, column), crossed.clusters, settings.level)

    rows = {item: of(ITEM + item) for item in items}
    return JudgeRepeats(judge, crossed.kinds[judge], of("total"), rows)


def _kappa(crossed: Crossed, items: Sequence[str], settings: Settings) -> list[ItemKappas]:
    """For each judge's replicates and for each pair of judges."""
    found: dict[tuple[str, ...], dict[str, Kappa]] = {(judge,): {} for judge in crossed.judges}
    found |= {pair: {} for pair in combinations(crossed.judges, 2)}
    for item in items:
        of = {judge: crossed.moments(judge, ITEM + item) for judge in crossed.judges}
        for judges, rows in found.items():
            one, *others = (of[judge] for judge in judges)
            rows[item] = (
                kappa.between(one, others[0], crossed.clusters, settings.level)
                if others
                else kappa.within(one, crossed.clusters, settings.level)
            )
    return [ItemKappas(judges, rows) for judges, rows in found.items()]
