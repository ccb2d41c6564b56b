"""Do the factors and their interactions matter at all: F on means of chains, and Hotelling's T
squared beside it.

F takes the error term of all arms together and supposes that they vary alike. Hotelling's T squared
on the patients' own contrasts supposes nothing of the kind, and pays with its degrees of freedom:
(contrasts, patients - contrasts). Training seeds of an arm are averaged: both tests are about these
checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.effect.asked import Arms
from cbt_ray.analysis.effect.fitted import law
from cbt_ray.analysis.effect.layout import NO_VARIATION, Chains, Layout, f_value, layout

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Hotelling(Keyed):
    """T squared of the patients' own contrasts, as F."""

    f: float
    df: int
    df_error: int
    p: float
    patients: int
    """Those that all arms have."""


@dataclass(frozen=True)
class Omnibus(Keyed):
    """Whether an effect is there at all."""

    effect: str
    f: float | None = None
    df: int | None = None
    df_error: int | None = None
    p: float | None = None
    method: str | None = None
    error_term: str = "patient x arm interaction, all arms"
    hotelling: Hotelling | None = None
    reason: str | None = None
    """Why there is no test."""


def omnibus(sessions: pd.DataFrame, arms: Arms) -> list[Omnibus]:
    """One row per effect of the full factorial of the factors.

    Without one, a row for the arms.
    """
    cells = layout(Chains(sessions).means(sessions["total"]), list(arms))
    return [_test(Omnibus(effect), cells, table) for effect, table in _effects(arms).items()]


def levels_of(arms: Arms) -> dict[str, list[str]]:
    """Factor -> its levels, of the factors in which the arms differ."""
    names = dict.fromkeys(name for own in arms.values() for name in own)
    found = {
        name: list(dict.fromkeys(own.get(name, "") for own in arms.values())) for name in names
    }
    return {name: levels for name, levels in found.items() if len(levels) > 1}


def _effects(arms: Arms) -> dict[str, Array]:
    """Effect -> contrasts (q, arms): differences of the marginal means, and differences of
    differences.
    """
    import numpy as np

    if len(arms) < 2:
        return {}
    factors = levels_of(arms)
    place = _places(arms, factors)
    if place is None:
        return {"arm": _differences(len(arms))}
    found = {}
    for size in range(1, len(factors) + 1):
        for names in combinations(factors, size):
            table = np.ones((1, 1))
            for name, levels in factors.items():
                count = len(levels)
                even = np.full((1, count), 1 / count)
                table = np.kron(table, _differences(count) if name in names else even)
            found[" x ".join(names)] = table[:, place]
    return found


def _places(arms: Arms, factors: Mapping[str, list[str]]) -> list[int] | None:
    """Where each arm stands in the full factorial of two factors or more; None without one."""
    cells = {levels: number for number, levels in enumerate(product(*factors.values()))}
    if len(factors) < 2 or prod(map(len, factors.values())) != len(arms):
        return None
    found = [cells[tuple(own.get(name, "") for name in factors)] for own in arms.values()]
    return found if len(set(found)) == len(arms) else None


def _differences(levels: int) -> Array:
    """(levels - 1, levels): each level less the first."""
    import numpy as np

    return np.hstack([-np.ones((levels - 1, 1)), np.eye(levels - 1)])


def _test(row: Omnibus, cells: Layout, table: Array) -> Omnibus:
    from scipy.special import fdtrc

    q = len(table)
    if not cells.patients or not all(cells.estimable(one) for one in table):
        reason = "an arm has no rated session, or shares no patient with the others"
        return replace(row, reason=reason)
    if cells.df < 1 or float(cells.mean_square(cells.means)) < NO_VARIATION:
        reason = "needs 2 patients that arms share, and differences that vary between them"
        return replace(row, reason=reason)
    f = f_value(cells, table)
    row = replace(row, f=f, df=q, df_error=cells.df, hotelling=_hotelling(cells, table))
    if cells.unbalanced is None:
        return replace(row, p=float(fdtrc(q, cells.df, f)), method="F on chain means")
    method = f"F by fitted variances: {cells.unbalanced}"
    return replace(row, p=law(cells, table).tail(f), method=method)


def _hotelling(cells: Layout, table: Array) -> Hotelling | None:
    """T squared of the patients' contrasts, over patients that all arms have.

    None where there are too few.
    """
    import numpy as np
    from scipy.special import fdtrc

    full = cells.present.all(axis=0)
    shown = table @ cells.means[:, full]
    q, n = shown.shape
    if n <= q:
        return None
    covariance = np.atleast_2d(np.cov(shown, ddof=1))
    if np.linalg.matrix_rank(covariance) < q:
        return None
    mean = shown.mean(axis=1)
    f = float(n * (n - q) / (q * (n - 1)) * mean @ np.linalg.solve(covariance, mean))
    return Hotelling(f, q, n - q, float(fdtrc(q, n - q, f)), n)
