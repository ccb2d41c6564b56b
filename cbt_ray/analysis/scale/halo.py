"""Halo: does the judge rate eleven items, or one impression eleven times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.scores import ITEM

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.judge.probe import ProbeRow

    Array = np.ndarray[Any, np.dtype[Any]]

NONE = "no rating has two items or more"


def halo(
    own: pd.DataFrame, items: Sequence[str], apart: pd.DataFrame | None = None
) -> dict[str, Any]:
    """On single ratings with every item.

    `apart`: the same sessions with their items rated the other way (see `scale`).
    """
    return {**shape(own, items), "apart": _apart(own, items, apart)}


def rated_apart(rows: Iterable[ProbeRow]) -> pd.DataFrame:
    """The frame `apart` from the rows of probe `halo`."""
    import pandas as pd

    known = [row for row in rows if row.probe == "halo" and row.reason is None]
    names = dict.fromkeys(item for row in known for item in row.items)
    columns: dict[str, Any] = {"session_key": [row.session_key for row in known]}
    columns |= {ITEM + name: [row.items.get(name) for row in known] for name in names}
    return pd.DataFrame(columns).astype({ITEM + name: float for name in names})


def shape(own: pd.DataFrame, items: Sequence[str]) -> dict[str, Any]:
    """How many ratings have one score on all items.

    How items hang together within arms, and lie apart within a rating.
    """
    import numpy as np

    names = [ITEM + item for item in items]
    found: dict[str, Any] = {
        "n": 0,
        **dict.fromkeys(
            (
                "alike",
                "share_alike",
                "mean_correlation",
                "first_eigenvalue_share",
                "within_rating_sd",
                "reason",
            )
        ),
    }
    complete = (
        own.loc[own[names].notna().all(axis=1), ["arm", *names]] if len(names) > 1 else own.iloc[:0]
    )
    if not len(complete):
        return found | {"reason": NONE}
    values = complete[names].to_numpy(dtype=float)
    alike = int((values.max(axis=1) == values.min(axis=1)).sum())
    correlation = _pooled(values, complete["arm"].factorize()[0])
    found |= {"n": len(values), "alike": alike, "share_alike": alike / len(values)}
    found |= {"within_rating_sd": float(values.std(axis=1, ddof=1).mean())}
    if correlation is None:
        return found | {"reason": "fewer than two items vary within arms"}
    k = len(correlation)
    return found | {
        "mean_correlation": float((correlation.sum() - k) / (k * (k - 1))),
        "first_eigenvalue_share": float(np.linalg.eigvalsh(correlation)[-1] / k),
    }


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


def _apart(own: pd.DataFrame, items: Sequence[str], apart: pd.DataFrame | None) -> dict[str, Any]:
    """The same sessions both ways: halo shows where items rated together lie closer together than
    items rated one at a time.
    """
    found: dict[str, Any] = {"sessions": 0, "usual": None, "other": None}
    if apart is None or not len(apart):
        return found | {"reason": "items were rated one way only"}
    items = [item for item in items if ITEM + item in apart]
    shared = own[own["session_key"].isin(apart["session_key"])]
    facts = shared.drop_duplicates("session_key")[["session_key", "arm"]]
    if not len(facts) or len(items) < 2:
        return found | {"reason": "no session was rated both ways"}
    columns = ["session_key", *(ITEM + item for item in items)]
    other = apart[columns].merge(facts, on="session_key")
    return {
        "sessions": len(facts),
        "usual": shape(shared, items),
        "other": shape(other, items),
        "reason": None,
    }
