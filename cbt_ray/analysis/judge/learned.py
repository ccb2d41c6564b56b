"""Judges that learned from people's ratings, against those people on patients that were held out;
beside them the same models as they were before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.judge.agreement import AgainstPeople, against
from cbt_ray.analysis.judge.crossed import Crossed
from cbt_ray.analysis.judge.icc import columns, squares
from cbt_ray.analysis.judge.jackknife import TOO_FEW, estimate, plain
from cbt_ray.analysis.scores import Scores

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.settings import Learned, Settings

    Array = np.ndarray[Any, np.dtype[Any]]

NONE_BEFORE = "no rater is this model as it was before"


@dataclass(frozen=True)
class LearnedJudge:
    """One measure by a judge that learned from people, or by the model that it was before, on the
    held-out patients alone.
    """

    model: str
    rater: str
    tuned: bool
    """It learned; else it is the model before."""
    measure: str
    learned_from: int
    """Patients whose ratings the model learned from."""
    held_out: int
    """Patients on whose sessions it is compared with people."""
    people: AgainstPeople
    gain: Estimate | None = None
    """Of one that learned: its ICC(2,1) minus that of the model before, on the sessions that both
    and people rated.
    """


def learned(scores: Scores, settings: Settings) -> list[LearnedJudge]:
    """Every model that learned, in each of its measures: as it was first, then as it is."""
    return [
        row
        for one in settings.learned
        for measure in one.measures
        for row in _rows(scores, one, measure, settings)
    ]


def _rows(scores: Scores, one: Learned, measure: str, settings: Settings) -> Iterator[LearnedJudge]:
    table = scores.ratings
    held_out = Scores(table[table["patient"].isin(one.held_out)])
    crossed = Crossed(held_out.on(measure), one.view)
    before = [name for name, tuned in one.raters.items() if not tuned]
    for name in sorted(one.raters, key=lambda rater: one.raters[rater]):
        own = replace(settings, judge=name)
        yield LearnedJudge(
            model=one.model,
            rater=name,
            tuned=one.raters[name],
            measure=measure,
            learned_from=one.learned_from,
            held_out=len(one.held_out),
            people=against(crossed, one.people, [one.people], one.items, own),
            gain=_gain(crossed, [name, *before[:1]], one.people, settings)
            if one.raters[name]
            else None,
        )


def _gain(crossed: Crossed, raters: Sequence[str], people: str, settings: Settings) -> Estimate:
    """How much nearer the first of two raters is to people than the second."""
    import numpy as np

    if len(raters) < 2:
        return Estimate(None, reason=NONE_BEFORE)
    found = [crossed.moments(name, "total") for name in (*raters, people)]
    all_of = np.all([one.count > 0 for one in found], axis=0)
    after, before, theirs = (one.mean[all_of] for one in found)
    both = [columns(np.column_stack([one, theirs])) for one in (after, before)]
    width = both[0].shape[1]

    def statistic(s: Array) -> Array:
        return squares(s[:, :width]).absolute - squares(s[:, width:]).absolute

    sums = crossed.clusters.of(all_of).sums(np.hstack(both))
    return estimate(statistic, sums, settings.level, plain(), TOO_FEW)
