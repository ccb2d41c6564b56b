"""Does a scale measure one thing: alpha, what each item adds to it, omega.

Alpha: Cronbach 1951; its interval for independent rows: Feldt 1965 (Psychometrika 30:357-370).
Omega total: McDonald 1999, with the loadings of one factor fitted to the covariance matrix by
iterated principal axes (unweighted least squares).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.estimate import Estimate, Span
from cbt_ray.analysis.judge.icc import columns, squares
from cbt_ray.analysis.judge.jackknife import Clusters, complement, estimate
from cbt_ray.analysis.scores import ITEM

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

CONSTANT = "the total does not vary"
HEYWOOD = "boundary fit (Heywood case): an item has no variance of its own"
SESSIONS = (
    "Rows are sessions. Those of a chain are not independent, so the interval takes chains as "
    "clusters; what differs between arms is in the correlations."
)
CHAINS = (
    "Rows are chain means: what holds the items together once the sessions' ups and downs are "
    "averaged out."
)
STEPS = 5000
PRECISION = 1e-10


@dataclass(frozen=True)
class ItemAdds:
    """What an item adds to the others."""

    item: str
    corrected_r: float | None
    """Its correlation with the sum of the others."""
    alpha_if_deleted: float | None
    """Alpha of the others."""


@dataclass(frozen=True)
class Omega:
    """The share of the total's variance that one common factor explains."""

    value: float | None = None
    loadings: Sequence[float] | None = None
    """Standardized."""
    reason: str | None = None
    """Why there is none, or what is odd about it."""


@dataclass(frozen=True)
class Consistency:
    """Alpha and omega of n rows."""

    n: int
    note: str
    """What the rows are."""
    alpha: Estimate | None = None
    """With chains as clusters."""
    feldt: Span | None = None
    """The interval of alpha for independent rows."""
    omega: Omega | None = None
    items: Sequence[ItemAdds] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Consistencies:
    """Over sessions, and over the means of their chains."""

    sessions: Consistency
    chains: Consistency


def consistencies(table: pd.DataFrame, items: Sequence[str], level: float) -> Consistencies:
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
    sums = sessions.sums(np.column_stack([np.ones(len(values)), values]))
    chains = Clusters(np.arange(len(known)), sums.arm)
    means = sums.values[:, 1:] / sums.values[:, :1]
    return Consistencies(
        consistency(values, sessions, items, level, SESSIONS),
        consistency(means, chains, items, level, CHAINS),
    )


def consistency(
    table: Array, clusters: Clusters, items: Sequence[str], level: float, note: str = ""
) -> Consistency:
    """Alpha, omega, and the items' part in both."""
    import numpy as np

    n, k = table.shape
    if k < 2 or n < 2:
        return Consistency(n, note, reason=f"needs 2 items and 2 rows or more, found {k} and {n}")
    alpha = estimate(_alpha, clusters.sums(columns(table)), level, complement(), CONSTANT)
    covariance = np.cov(table, rowvar=False)
    return Consistency(
        n,
        note,
        alpha,
        feldt(alpha.value, n, k, level),
        omega(covariance),
        [_without(covariance, j, item) for j, item in enumerate(items)],
        alpha.reason if alpha.value is None else None,
    )


def _alpha(s: Array) -> Array:
    """From sums of `columns`: consistency of the mean of k, so ICC(3,k)."""
    import numpy as np

    found = squares(s)
    return np.where(found.sessions > 0, (found.sessions - found.rest) / found.sessions, np.nan)


def feldt(alpha: float | None, n: int, k: int, level: float) -> Span | None:
    """Exact where rows are independent and items are parallel but for their means."""
    from scipy.special import fdtri

    if alpha is None or alpha > 1 - PRECISION:
        return None
    low, high = (
        float(fdtri(n - 1, (n - 1) * (k - 1), share))
        for share in (0.5 + level / 2, 0.5 - level / 2)
    )
    return Span(1 - (1 - alpha) * low, 1 - (1 - alpha) * high)


def _without(covariance: Array, place: int, item: str) -> ItemAdds:
    import numpy as np

    rest = np.delete(np.delete(covariance, place, 0), place, 1)
    k, total, own = len(rest), float(rest.sum()), float(covariance[place, place])
    shared = float(np.delete(covariance[place], place).sum())
    varies = total > PRECISION
    return ItemAdds(
        item,
        shared / (own * total) ** 0.5 if varies and own > PRECISION else None,
        k / (k - 1) * (1 - float(np.trace(rest)) / total) if varies and k > 1 else None,
    )


def omega(covariance: Array) -> Omega:
    """Of items with these covariances."""
    import numpy as np

    own = np.diag(covariance)
    if len(own) < 3:
        return Omega(reason=f"one factor needs 3 items or more, found {len(own)}")
    if (own <= PRECISION).any():
        return Omega(reason="an item does not vary")
    common = _start(covariance)
    for _ in range(STEPS):
        values, vectors = np.linalg.eigh(covariance - np.diag(own - common))
        loadings = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
        last, common = common, np.minimum(loadings**2, own)
        if np.abs(common - last).max() < PRECISION * own.max():
            break
    else:
        return Omega(reason=f"the factor did not converge in {STEPS} steps")
    loadings = loadings * (1.0 if loadings.sum() >= 0 else -1.0)
    explained, rest = float(loadings.sum()) ** 2, float((own - common).sum())
    bounded = bool((common >= own * (1 - 1e-8)).any())
    return Omega(
        explained / (explained + rest),
        [float(value) for value in loadings / np.sqrt(own)],
        HEYWOOD if bounded else None,
    )


def _start(covariance: Array) -> Array:
    """Communalities to start from: squared multiple correlations, or the largest covariance where
    items are collinear.
    """
    import numpy as np

    own = np.diag(covariance)
    if np.linalg.cond(covariance) < 1e8:
        return np.asarray(own - 1 / np.diag(np.linalg.inv(covariance)))
    return np.asarray(np.minimum(own, np.abs(covariance - np.diag(own)).max(axis=1)))
