"""Section `scale`: does the scale measure one thing, can it still tell good from better, and does
the answer survive ranks.

Single ratings of the headline judge for ends and halo; session means for consistency and ranks.
Keys: docs/analysis.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.policy import counted
from cbt_ray.analysis.effect.ranks import ranks
from cbt_ray.analysis.judge.jackknife import Clusters
from cbt_ray.analysis.scale.consistency import consistency
from cbt_ray.analysis.scale.halo import halo
from cbt_ray.analysis.scores import ITEM, Scores

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

CROWDED = 0.5
"""Above this share of ratings at one end, an item cannot tell good from better."""
NOTES = {
    "sessions": "Rows are sessions. Those of a chain are not independent, so the interval takes "
    "chains as clusters; what differs "
    "between arms is in the correlations.",
    "chains": "Rows are chain means: what holds the items together once the sessions' ups and "
    "downs are averaged out.",
}


def scale(
    scores: Scores,
    settings: Settings,
    *,
    sessions: pd.DataFrame | None = None,
    apart: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """All of the section. `sessions`: `scores.sessions(view, judge)`, if already there.

    `apart`: sessions with their items rated the other way (one at a time instead of together, or
    the reverse): session_key and a column `item:<id>` per item (`halo.rated_apart` makes it of
    probe rows).
    """
    own = scores.of_judge(settings.view, settings.judge)
    table = scores.sessions(settings.view, settings.judge) if sessions is None else sessions
    items = [item for item in list(settings.items) or scores.items if ITEM + item in own]
    used = counted(table, settings.unrated, len(items), settings)
    rows = ends(own, items, settings)
    return {
        "consistency": _consistency(table, items, settings.level),
        "ends": rows,
        "ranks": ranks(used, levels(arms(table, settings)), settings),
        "halo": halo(own, items, apart),
        "notices": _crowded(rows, settings),
    }


def ends(own: pd.DataFrame, items: Sequence[str], settings: Settings) -> list[dict[str, Any]]:
    """Per item: share of single ratings at the ends of the scale, and at the ends that the judge
    ever used of this item.
    """
    return [
        {"item": item, **_ends(own[ITEM + item].to_numpy(dtype=float), settings)} for item in items
    ]


def _ends(values: Array, settings: Settings) -> dict[str, Any]:
    import numpy as np

    known = values[~np.isnan(values)]
    n = len(known)
    if n == 0:
        names = (
            "observed_min",
            "observed_max",
            "floor",
            "ceiling",
            "at_observed_min",
            "at_observed_max",
        )
        return {"n": 0, **dict.fromkeys(names), "flagged": False}
    low, high = float(known.min()), float(known.max())
    share = {
        name: float((known == end).sum()) / n
        for name, end in {
            "floor": settings.lowest,
            "ceiling": settings.highest,
            "at_observed_min": low,
            "at_observed_max": high,
        }.items()
    }
    seen = {
        name: int(end) if end.is_integer() else end
        for name, end in (("observed_min", low), ("observed_max", high))
    }
    return {
        "n": n,
        **seen,
        **share,
        "flagged": max(share["at_observed_min"], share["at_observed_max"]) > CROWDED,
    }


def _crowded(rows: Sequence[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    flagged = [settings.titles.get(row["item"], row["item"]) for row in rows if row["flagged"]]
    if not flagged:
        return []
    named = ", ".join(flagged[:3]) + (", ..." if len(flagged) > 3 else "")
    text = (
        f"{len(flagged)} of {len(rows)} items have more than half of their ratings at one end "
        f"({named}) and tell little apart."
    )
    return [{"id": "crowded", "text": text, "weight": 45}]


def _consistency(table: pd.DataFrame, items: Sequence[str], level: float) -> dict[str, Any]:
    """On sessions with every item, and on the means of their chains."""
    import numpy as np
    import pandas as pd

    names = [ITEM + item for item in items]
    complete = (
        table.loc[table[names].notna().all(axis=1), [*names, "chain", "arm"]]
        if names
        else table.iloc[:0]
    )
    values = complete[names].to_numpy(dtype=float)
    chain, known = pd.factorize(complete["chain"])
    sessions = Clusters(chain, pd.factorize(complete["arm"])[0])
    means = sessions.sums(np.column_stack([np.ones(len(values)), values]))
    chains = Clusters(np.arange(len(known)), means.arm)
    found = {
        "sessions": consistency(values, sessions, items, level),
        "chains": consistency(means.values[:, 1:] / means.values[:, :1], chains, items, level),
    }
    return {name: {**row, "note": NOTES[name]} for name, row in found.items()}
