"""Section `scale`: does the scale measure one thing, can it still tell good from better, does the
judge rate items or one impression over and over, and does the answer survive ranks.

Single ratings of the headline judge for ends and halo; session means for consistency and ranks.
Keys: docs/analysis.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.policy import counted
from cbt_ray.analysis.effect.ranks import Ranks, ranks
from cbt_ray.analysis.notice import Notice
from cbt_ray.analysis.scale.consistency import Consistencies, consistencies
from cbt_ray.analysis.scores import ITEM, Scores
from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.judge.probe import ProbeRow
    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

CROWDED = 0.5
"""Above this share of ratings at one end, an item cannot tell good from better."""
NONE = "no rating has two items or more"


@dataclass(frozen=True)
class ItemEnds:
    """Shares of an item's single ratings at the scale's ends and at those that the judge used."""

    item: str
    n: int = 0
    observed_min: float | None = None
    observed_max: float | None = None
    floor: float | None = None
    ceiling: float | None = None
    at_observed_min: float | None = None
    at_observed_max: float | None = None
    flagged: bool = False
    """More than half lie at an end that the judge used."""


@dataclass(frozen=True)
class Shape:
    """How items hang together within arms, and lie apart within a rating."""

    n: int = 0
    """Single ratings with every item."""
    alike: int | None = None
    """Those with one score on all items."""
    share_alike: float | None = None
    mean_correlation: float | None = None
    first_eigenvalue_share: float | None = None
    """Both within arms."""
    within_rating_sd: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Halo:
    """Does the judge rate eleven items, or one impression eleven times.

    Halo shows where items rated together lie closer together than items rated one at a time.
    """

    headline: Shape
    sessions: int = 0
    """Whose items were also rated the other way."""
    usual: Shape | None = None
    """Of these, as all are rated."""
    other: Shape | None = None
    """Of these, the other way."""
    reason: str | None = None
    """Why there are none."""


@dataclass(frozen=True)
class ScaleQuality:
    """What the ratings say of the scale."""

    consistency: Consistencies
    ends: Sequence[ItemEnds]
    ranks: Ranks
    """The primary contrasts by ranks."""
    halo: Halo
    notices: Sequence[Notice]


def scale(
    scores: Scores,
    settings: Settings,
    *,
    sessions: pd.DataFrame | None = None,
    apart: pd.DataFrame | None = None,
) -> ScaleQuality:
    """All of the section. `sessions`: `scores.sessions(view, judge)`, if already there.

    `apart`: sessions with their items rated the other way (one at a time instead of together, or
    the reverse): session_key and a column `item:<id>` per item (`rated_apart` makes it of probe
    rows).
    """
    own = scores.of_judge(settings.view, settings.judge)
    table = scores.sessions(settings.view, settings.judge) if sessions is None else sessions
    items = [item for item in list(settings.items) or scores.items if ITEM + item in own]
    used = counted(table, settings.unrated, len(items), settings)
    rows = ends(own, items, settings)
    return ScaleQuality(
        consistency=consistencies(table, items, settings.level),
        ends=rows,
        ranks=ranks(used, levels(arms(table, settings)), settings),
        halo=halo(own, items, apart),
        notices=_crowded(rows, settings),
    )


def ends(own: pd.DataFrame, items: Sequence[str], settings: Settings) -> list[ItemEnds]:
    """Per item: share of single ratings at the ends of the scale, and at the ends that the judge
    ever used of this item.
    """
    return [_ends(item, own[ITEM + item].to_numpy(dtype=float), settings) for item in items]


def _ends(item: str, values: Array, settings: Settings) -> ItemEnds:
    import numpy as np

    known = values[~np.isnan(values)]
    n = len(known)
    if n == 0:
        return ItemEnds(item)
    low, high = float(known.min()), float(known.max())
    floor, ceiling, lowest, highest = (
        float((known == end).sum()) / n for end in (settings.lowest, settings.highest, low, high)
    )
    crowded = max(lowest, highest) > CROWDED
    return ItemEnds(item, n, low, high, floor, ceiling, lowest, highest, crowded)


def _crowded(rows: Sequence[ItemEnds], settings: Settings) -> list[Notice]:
    flagged = [settings.titles.get(row.item, row.item) for row in rows if row.flagged]
    if not flagged:
        return []
    named = ", ".join(flagged[:3]) + (", ..." if len(flagged) > 3 else "")
    text = (
        f"More than half of the ratings are at one end of {len(flagged)} of "
        f"{many(len(rows), 'item')} ({named}), where little can be told apart."
    )
    return [Notice("crowded", text, 45)]


def halo(own: pd.DataFrame, items: Sequence[str], apart: pd.DataFrame | None = None) -> Halo:
    """On single ratings with every item.

    `apart`: the same sessions with their items rated the other way (see `scale`).
    """
    headline = shape(own, items)
    if apart is None or not len(apart):
        return Halo(headline, reason="items were rated one way only")
    items = [item for item in items if ITEM + item in apart]
    shared = own[own["session_key"].isin(apart["session_key"])]
    facts = shared.drop_duplicates("session_key")[["session_key", "arm"]]
    if not len(facts) or len(items) < 2:
        return Halo(headline, reason="no session was rated both ways")
    columns = ["session_key", *(ITEM + item for item in items)]
    other = apart[columns].merge(facts, on="session_key")
    return Halo(headline, len(facts), shape(shared, items), shape(other, items))


def rated_apart(rows: Iterable[ProbeRow]) -> pd.DataFrame:
    """The frame `apart` from the rows of the probe `halo`."""
    import pandas as pd

    known = [row for row in rows if row.probe == "halo" and row.reason is None]
    names = dict.fromkeys(item for row in known for item in row.items)
    columns: dict[str, Any] = {"session_key": [row.session_key for row in known]}
    columns |= {ITEM + name: [row.items.get(name) for row in known] for name in names}
    return pd.DataFrame(columns).astype({ITEM + name: float for name in names})


def shape(own: pd.DataFrame, items: Sequence[str]) -> Shape:
    """Of the ratings that have all of several items."""
    import numpy as np

    names = [ITEM + item for item in items]
    complete = (
        own.loc[own[names].notna().all(axis=1), ["arm", *names]] if len(names) > 1 else own.iloc[:0]
    )
    if not len(complete):
        return Shape(reason=NONE)
    values = complete[names].to_numpy(dtype=float)
    n, alike = len(values), int((values.max(axis=1) == values.min(axis=1)).sum())
    spread = float(values.std(axis=1, ddof=1).mean())
    found = Shape(n, alike, alike / n, within_rating_sd=spread)
    correlation = _pooled(values, complete["arm"].factorize()[0])
    if correlation is None:
        return replace(found, reason="fewer than two items vary within arms")
    k = len(correlation)
    return replace(
        found,
        mean_correlation=float((correlation.sum() - k) / (k * (k - 1))),
        first_eigenvalue_share=float(np.linalg.eigvalsh(correlation)[-1] / k),
    )


def _pooled(values: Array, arm: Array) -> Array | None:
    """Correlations of the items that vary, around the arms' means.

    None where fewer than two vary.
    """
    import numpy as np

    size = np.bincount(arm)
    means = np.column_stack([np.bincount(arm, weights=column) / size for column in values.T])
    rest = values - means[arm]
    cross = rest.T @ rest
    varies = np.flatnonzero(np.diag(cross) > 1e-9 * len(values))
    if len(varies) < 2:
        return None
    cross = cross[np.ix_(varies, varies)]
    scale = np.sqrt(np.diag(cross))
    return np.asarray(cross / np.outer(scale, scale))
