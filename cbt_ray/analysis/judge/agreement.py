"""Does the headline judge say what people say: agreement with human ratings, bias, limits of
agreement, points of a bias plot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.judge import kappa
from cbt_ray.analysis.judge.crossed import Moments
from cbt_ray.analysis.judge.icc import two_way
from cbt_ray.analysis.judge.jackknife import Clusters, estimate, plain
from cbt_ray.analysis.judge.judges import mean
from cbt_ray.analysis.scores import ITEM

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


def humans(crossed: Crossed, items: Sequence[str], settings: Settings) -> dict[str, Any]:
    """The judge `settings.judge` against each person, and against all of them where there are
    several.

    It is `calibrated` where the whole interval of ICC(2,1) against the last of these rows is at
    POOR or above.
    """
    raters = [
        judge
        for judge in crossed.judges
        if crossed.kinds[judge] == HUMAN and judge != settings.judge
    ]
    found: dict[str, Any] = {
        "available": False,
        "calibrated": False,
        "judge": settings.judge,
        "raters": [],
        "reason": None,
    }
    if crossed.kinds.get(settings.judge) == HUMAN:
        return found | {
            "calibrated": True,
            "reason": "the ratings of the headline are people's own",
        }
    groups = {rater: [rater] for rater in raters} | ({ALL: raters} if len(raters) > 1 else {})
    rows = [_against(crossed, name, people, items, settings) for name, people in groups.items()]
    if not any(row["sessions"] for row in rows):
        why = (
            "people rated no session that this judge rated"
            if raters
            else "no person's ratings were imported"
        )
        any_rated = bool((crossed.moments(settings.judge, "total").count > 0).any())
        return found | {"reason": why, "notices": [_uncalibrated(why)] if any_rated else []}
    doubt, notices = _doubt(rows[-1])
    return found | {
        "available": True,
        "calibrated": doubt is None,
        "reason": doubt,
        "raters": rows,
        "notices": notices,
    }


def _doubt(row: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """Why agreement with these people does not calibrate the judge, or None.

    And what to say of it.
    """
    icc, sessions = row["icc2_1"], row["sessions"]
    if icc is None or icc["low"] is None:
        why = (
            f"people rated {sessions} of its sessions, which does not say how far they agree "
            f"({row['reason']})"
        )
        return why, [_uncalibrated(why)]
    if icc["value"] < POOR:
        why = (
            f"people disagree with it, ICC(2,1) {icc['value']:.2f} over {sessions} sessions, "
            f"below {POOR:g}"
        )
        return why, [{"id": "people_disagree", "text": f"Uncalibrated judge: {why}.", "weight": 85}]
    if icc["low"] < POOR:
        why = (
            f"people may disagree with it, the interval of ICC(2,1) over {sessions} sessions "
            f"begins at {icc['low']:.2f}"
        )
        why += f", below {POOR:g}"
        return why, [_uncalibrated(why)]
    return None, []


def _uncalibrated(why: str) -> dict[str, Any]:
    text = f"Uncalibrated judge: {why}, so scores show what this judge says and no more."
    return {"id": "uncalibrated", "text": text, "weight": 70}


def _against(
    crossed: Crossed, name: str, people: Sequence[str], items: Sequence[str], settings: Settings
) -> dict[str, Any]:
    """One row: the judge against these people's mean; kappa is against single ratings of theirs."""
    import numpy as np

    own, theirs = crossed.moments(settings.judge, "total"), pooled(crossed, people, "total")
    both = (own.count > 0) & (theirs.count > 0)
    row: dict[str, Any] = {"rater": name, "people": len(people), "sessions": int(both.sum())}
    row |= dict.fromkeys(("chains", "icc2_1", "icc3_1", "bias", "limits", "sd", "points", "kappa"))
    if not both.any():
        return row | {"reason": "no session was rated by both"}
    table, clusters = (
        np.column_stack([own.mean[both], theirs.mean[both]]),
        crossed.clusters.of(both),
    )
    agreement = two_way(table, clusters, settings.level)
    difference = table[:, 0] - table[:, 1]
    return row | {
        "chains": clusters.count,
        **{
            name: {key: value for key, value in agreement[name].items() if key != "random_judges"}
            for name in ("icc2_1", "icc3_1")
        },
        "bias": mean(difference, clusters, settings.level),
        "sd": float(difference.std(ddof=1)) if len(difference) > 1 else None,
        "limits": limits(difference, clusters, settings.level),
        "points": thinned(table.mean(axis=1), difference),
        "kappa": [{"item": item, **_item(crossed, people, item, settings)} for item in items],
        "reason": agreement["icc2_1"]["reason"],
    }


def _item(crossed: Crossed, people: Sequence[str], item: str, settings: Settings) -> dict[str, Any]:
    own = crossed.moments(settings.judge, ITEM + item)
    return kappa.between(
        own, pooled(crossed, people, ITEM + item), crossed.clusters, settings.level
    )


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


def limits(difference: Array, clusters: Clusters, level: float) -> dict[str, Any] | None:
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

    def end(sign: float) -> dict[str, Any]:
        def statistic(s: Array) -> Array:
            variance = np.maximum(0.0, s[:, 2] - s[:, 1] ** 2 / s[:, 0]) / (s[:, 0] - 1)
            return np.asarray(s[:, 1] / s[:, 0] + sign * z * np.sqrt(variance))

        return estimate(statistic, of_chains, level, plain(), "fewer than two sessions")

    return {"share": level, "lower": end(-1.0), "upper": end(1.0)}


def thinned(middle: Array, difference: Array, most: int = POINTS) -> list[list[float]]:
    """(mean, difference) of up to `most` sessions, evenly over the means, so that both ends are
    kept.
    """
    import numpy as np

    order = np.lexsort((difference, middle))
    chosen = order[
        np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
    ]
    return [[float(middle[i]), float(difference[i])] for i in chosen]
