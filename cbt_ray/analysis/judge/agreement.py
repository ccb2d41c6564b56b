"""Does the headline judge say what people say: agreement with human ratings, bias, limits of
agreement, points of a bias plot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.judge import kappa
from cbt_ray.analysis.judge.crossed import Moments
from cbt_ray.analysis.judge.icc import two_way
from cbt_ray.analysis.judge.jackknife import Clusters, estimate, plain
from cbt_ray.analysis.judge.judges import mean
from cbt_ray.analysis.judge.kappa import Kappa
from cbt_ray.analysis.notice import Notice
from cbt_ray.analysis.scores import ITEM
from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np

    from cbt_ray.analysis.judge.crossed import Crossed
    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

HUMAN = "human"
POINTS = 600
"""Most points of a bias plot."""
POOR = 0.5
"""Below this an ICC is called poor; what is judged is its interval (Koo & Li 2016, J. Chiropr. Med.
15:155-163)."""
ALL = "all people"


@dataclass(frozen=True)
class LimitsOfAgreement:
    """Between which differences the judge and people lie in this share of sessions."""

    share: float
    lower: Estimate
    upper: Estimate


@dataclass(frozen=True)
class AgainstPeople:
    """The judge against people; differences are judge minus person."""

    rater: str
    people: int
    sessions: int = 0
    """Rated by both."""
    chains: int = 0
    icc2_1: Estimate | None = None
    icc3_1: Estimate | None = None
    bias: Estimate | None = None
    sd: float | None = None
    """Of the differences."""
    limits: LimitsOfAgreement | None = None
    points: Sequence[tuple[float, float]] = ()
    """(mean, difference) of a session, for a plot."""
    kappa: Mapping[str, Kappa] = field(default_factory=dict)
    """Item -> kappa of single ratings."""
    reason: str | None = None
    """Why the ICC has no interval."""


@dataclass(frozen=True)
class Humans:
    """Whether people say what the headline judge says."""

    judge: str
    available: bool = False
    """Did people rate what it rated."""
    calibrated: bool = False
    """The whole interval of ICC(2,1) against the last rater is at POOR or above."""
    reason: str | None = None
    """Why it is not calibrated."""
    raters: Sequence[AgainstPeople] = ()
    """One person each; the last is all of them where there are several."""


def humans(
    crossed: Crossed, items: Sequence[str], settings: Settings
) -> tuple[Humans, list[Notice]]:
    """The judge `settings.judge` against each person, and against all of them where there are
    several; and what to say of it.
    """
    judge, kinds = settings.judge, crossed.kinds
    if kinds.get(judge) == HUMAN:
        reason = "the ratings of the headline are people's own"
        return Humans(judge, calibrated=True, reason=reason), []
    raters = [name for name in crossed.judges if kinds[name] == HUMAN]
    groups = {rater: [rater] for rater in raters} | ({ALL: raters} if len(raters) > 1 else {})
    rows = [against(crossed, name, people, items, settings) for name, people in groups.items()]
    if not any(row.sessions for row in rows):
        why = (
            "people rated no session that this judge rated"
            if raters
            else "no person's ratings were imported"
        )
        any_rated = bool((crossed.moments(judge, "total").count > 0).any())
        return Humans(judge, reason=why), [_uncalibrated(why)] if any_rated else []
    doubt, notices = _doubt(rows[-1])
    return Humans(judge, True, doubt is None, doubt, rows), notices


def _doubt(row: AgainstPeople) -> tuple[str | None, list[Notice]]:
    """Why agreement with these people does not calibrate the judge, or None.

    And what to say of it.
    """
    icc, sessions = row.icc2_1, row.sessions
    if icc is None or icc.value is None or icc.low is None:
        why = (
            f"people rated {sessions} of its sessions, which does not say how far they agree "
            f"({row.reason})"
        )
        return why, [_uncalibrated(why)]
    if icc.value < POOR:
        why = (
            f"people disagree with it, ICC(2,1) {icc.value:.2f} over {many(sessions, 'session')}, "
            f"below {POOR:g}"
        )
        return why, [Notice("people_disagree", f"Uncalibrated judge: {why}.", 85)]
    if icc.low < POOR:
        why = (
            "people may disagree with it, the interval of ICC(2,1) over "
            f"{many(sessions, 'session')} begins at {icc.low:.2f}, below {POOR:g}"
        )
        return why, [_uncalibrated(why)]
    return None, []


def _uncalibrated(why: str) -> Notice:
    text = f"Uncalibrated judge: {why}, so scores show what this judge says and no more."
    return Notice("uncalibrated", text, 70)


def against(
    crossed: Crossed, name: str, people: Sequence[str], items: Sequence[str], settings: Settings
) -> AgainstPeople:
    """One row: the judge against these people's mean; kappa is against single ratings of theirs."""
    import numpy as np

    own, theirs = crossed.moments(settings.judge, "total"), pooled(crossed, people, "total")
    both = (own.count > 0) & (theirs.count > 0)
    if not both.any():
        return AgainstPeople(name, len(people), reason="no session was rated by both")
    table, clusters = (
        np.column_stack([own.mean[both], theirs.mean[both]]),
        crossed.clusters.of(both),
    )
    agreed = two_way(table, clusters, settings.level)
    difference = table[:, 0] - table[:, 1]
    return AgainstPeople(
        rater=name,
        people=len(people),
        sessions=int(both.sum()),
        chains=clusters.count,
        icc2_1=agreed.icc2_1,
        icc3_1=agreed.icc3_1,
        bias=mean(difference, clusters, settings.level),
        sd=float(difference.std(ddof=1)) if len(difference) > 1 else None,
        limits=limits(difference, clusters, settings.level),
        points=thinned(table.mean(axis=1), difference),
        kappa={item: _item(crossed, people, item, settings) for item in items},
        reason=agreed.icc2_1.reason,
    )


def _item(crossed: Crossed, people: Sequence[str], item: str, settings: Settings) -> Kappa:
    own = crossed.moments(settings.judge, ITEM + item)
    theirs = pooled(crossed, people, ITEM + item)
    return kappa.between(own, theirs, crossed.clusters, settings.level)


def pooled(crossed: Crossed, people: Sequence[str], column: str) -> Moments:
    """Several judges as one, each counted alike in a session.

    The mean square is that of a single rating by one of them.
    """
    import numpy as np

    each = [crossed.moments(person, column) for person in people]
    count = np.sum([one.count > 0 for one in each], axis=0).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = (
            np.nansum([getattr(one, name) for one in each], axis=0) / count
            for name in ("mean", "square")
        )
    return Moments(count, mean, square)


def limits(difference: Array, clusters: Clusters, level: float) -> LimitsOfAgreement | None:
    """Between which differences the judge and people lie in this share of sessions (Bland & Altman
    1986, Lancet 327:307-310).
    """
    import numpy as np
    from scipy.special import ndtri

    if len(difference) < 2:
        return None
    z = float(ndtri(0.5 + level / 2))
    of_chains = clusters.sums(
        np.column_stack([np.ones_like(difference), difference, difference**2])
    )

    def end(sign: float) -> Estimate:
        def statistic(s: Array) -> Array:
            variance = np.maximum(0.0, s[:, 2] - s[:, 1] ** 2 / s[:, 0]) / (s[:, 0] - 1)
            return np.asarray(s[:, 1] / s[:, 0] + sign * z * np.sqrt(variance))

        return estimate(statistic, of_chains, level, plain(), "fewer than two sessions")

    return LimitsOfAgreement(level, end(-1.0), end(1.0))


def thinned(middle: Array, difference: Array, most: int = POINTS) -> list[tuple[float, float]]:
    """(mean, difference) of up to `most` sessions, evenly over the means, so that both ends are
    kept.
    """
    import numpy as np

    order = np.lexsort((difference, middle))
    chosen = order[
        np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
    ]
    return [(float(middle[i]), float(difference[i])) for i in chosen]
