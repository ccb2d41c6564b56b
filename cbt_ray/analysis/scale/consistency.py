"""Does a scale measure one thing: alpha, what each item adds to it, omega.

On (n, k) scores without gaps.

Alpha: Cronbach 1951; its interval for independent rows: Feldt 1965 (Psychometrika 30:357-370).
Omega total: McDonald 1999, with the loadings of one factor fitted to the covariance matrix by
iterated principal axes (unweighted least squares).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.judge.icc import columns, squares
from cbt_ray.analysis.judge.jackknife import Clusters, complement, estimate

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CONSTANT = "the total does not vary"
STEPS = 5000
PRECISION = 1e-10


def consistency(
    table: Array, clusters: Clusters, items: Sequence[str], level: float
) -> dict[str, Any]:
    """Alpha (interval with chains as clusters.

    `feldt`: for independent rows), omega, and the items' part in both.
    """
    import numpy as np

    n, k = table.shape
    found: dict[str, Any] = {"n": n, **dict.fromkeys(("alpha", "feldt", "omega", "items"))}
    if k < 2 or n < 2:
        return found | {
            "items": [],
            "reason": f"needs 2 items and 2 rows or more, found {k} and {n}",
        }
    of_chains = clusters.sums(columns(table))
    alpha = estimate(_alpha, of_chains, level, complement(), CONSTANT)
    covariance = np.cov(table, rowvar=False)
    return found | {
        "alpha": alpha,
        "feldt": feldt(alpha["value"], n, k, level),
        "omega": omega(covariance),
        "items": [{"item": item, **_without(covariance, j)} for j, item in enumerate(items)],
        "reason": alpha["reason"] if alpha["value"] is None else None,
    }


def _alpha(s: Array) -> Array:
    """From sums of `columns`: consistency of the mean of k, so ICC(3,k)."""
    import numpy as np

    found = squares(s)
    return np.where(found.sessions > 0, (found.sessions - found.rest) / found.sessions, np.nan)


def feldt(alpha: float | None, n: int, k: int, level: float) -> dict[str, float] | None:
    """Exact where rows are independent and items are parallel but for their means."""
    from scipy.special import fdtri

    if alpha is None or alpha > 1 - PRECISION:
        return None
    low, high = (
        float(fdtri(n - 1, (n - 1) * (k - 1), share))
        for share in (0.5 + level / 2, 0.5 - level / 2)
    )
    return {"low": 1 - (1 - alpha) * low, "high": 1 - (1 - alpha) * high}


def _without(covariance: Array, item: int) -> dict[str, float | None]:
    """An item's correlation with the sum of the others, and alpha of the others."""
    import numpy as np

    rest = np.delete(np.delete(covariance, item, 0), item, 1)
    k, total, own = len(rest), float(rest.sum()), float(covariance[item, item])
    shared = float(np.delete(covariance[item], item).sum())
    varies = total > PRECISION
    return {
        "corrected_r": shared / (own * total) ** 0.5 if varies and own > PRECISION else None,
        "alpha_if_deleted": k / (k - 1) * (1 - float(np.trace(rest)) / total)
        if varies and k > 1
        else None,
    }


def omega(covariance: Array) -> dict[str, Any]:
    """The share of the total's variance that one common factor explains."""
    import numpy as np

    found: dict[str, Any] = {"value": None, "loadings": None, "reason": None}
    own = np.diag(covariance)
    if len(own) < 3:
        return found | {"reason": f"one factor needs 3 items or more, found {len(own)}"}
    if (own <= PRECISION).any():
        return found | {"reason": "an item does not vary"}
    common = _start(covariance)
    for _ in range(STEPS):
        values, vectors = np.linalg.eigh(covariance - np.diag(own - common))
        loadings = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
        last, common = common, np.minimum(loadings**2, own)
        if np.abs(common - last).max() < PRECISION * own.max():
            break
    else:
        return found | {"reason": f"the factor did not converge in {STEPS} steps"}
    loadings = loadings * (1.0 if loadings.sum() >= 0 else -1.0)
    explained, rest = float(loadings.sum()) ** 2, float((own - common).sum())
    bounded = bool((common >= own * (1 - 1e-8)).any())
    return found | {
        "value": explained / (explained + rest),
        "loadings": [float(value) for value in loadings / np.sqrt(own)],
        "reason": "boundary fit (Heywood case): an item has no variance of its own"
        if bounded
        else None,
    }


def _start(covariance: Array) -> Array:
    """Communalities to start from: squared multiple correlations, or the largest covariance where
    items are collinear.
    """
    import numpy as np

    own = np.diag(covariance)
    if np.linalg.cond(covariance) < 1e8:
        return np.asarray(own - 1 / np.diag(np.linalg.inv(covariance)))
    return np.asarray(np.minimum(own, np.abs(covariance - np.diag(own)).max(axis=1)))
