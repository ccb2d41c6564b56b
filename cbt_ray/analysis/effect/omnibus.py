"""Do model, variant and their interaction matter at all: F on means of chains, and Hotelling's T
squared beside it.

F takes the error term of all arms together and supposes that they vary alike. Hotelling's T squared
on the patients' own contrasts supposes nothing of the kind, and pays with its degrees of freedom:
(contrasts, patients - contrasts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.contrast import Groups, grouped
from cbt_ray.analysis.effect.fitted import law
from cbt_ray.analysis.effect.layout import NO_VARIATION, Chains, Layout, f_value, layout

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

FIELDS = ("f", "df", "df_error", "p", "method", "error_term", "hotelling", "reason")


def omnibus(sessions: pd.DataFrame, groups: Groups) -> list[dict[str, Any]]:
    """One row per effect of the full factorial of models and variants.

    Without one, a row for the arms.
    """
    cells = layout(Chains(grouped(sessions)).means(sessions["total"]), list(groups))
    rows = []
    for effect, table in _effects(groups).items():
        row: dict[str, Any] = {
            "effect": effect,
            **dict.fromkeys(FIELDS),
            "error_term": "patient x arm interaction, all arms",
        }
        rows.append(row | _test(cells, table))
    return rows


def _effects(groups: Groups) -> dict[str, Array]:
    """Effect -> contrasts (q, groups): differences of the marginal means, and differences of
    differences.
    """
    import numpy as np

    models, variants = (list(dict.fromkeys(pair[i] for pair in groups.values())) for i in (0, 1))
    if len(groups) < 2:
        return {}
    if len(groups) != len(models) * len(variants) or min(len(models), len(variants)) < 2:
        return {"arm": _differences(len(groups))}
    order = [(model, variant) for model in models for variant in variants]
    place = [list(groups.values()).index(pair) for pair in order]
    m, v = _differences(len(models)), _differences(len(variants))
    even = (
        np.full((1, len(variants)), 1 / len(variants)),
        np.full((1, len(models)), 1 / len(models)),
    )
    found = {
        "model": np.kron(m, even[0]),
        "variant": np.kron(even[1], v),
        "model x variant": np.kron(m, v),
    }
    back = np.argsort(place)
    return {effect: table[:, back] for effect, table in found.items()}


def _differences(levels: int) -> Array:
    """(levels - 1, levels): each level less the first."""
    import numpy as np

    return np.hstack([-np.ones((levels - 1, 1)), np.eye(levels - 1)])


def _test(cells: Layout, table: Array) -> dict[str, Any]:
    from scipy.special import fdtrc

    q = len(table)
    if not cells.patients or not all(cells.estimable(row) for row in table):
        return {"reason": "an arm has no rated session, or shares no patient with the others"}
    if cells.df < 1 or float(cells.mean_square(cells.means)) < NO_VARIATION:
        return {
            "reason": "needs 2 patients that arms share, and differences that vary between them"
        }
    f = f_value(cells, table)
    found = {"f": f, "df": q, "df_error": cells.df, "hotelling": _hotelling(cells, table)}
    if cells.unbalanced is None:
        return found | {"p": float(fdtrc(q, cells.df, f)), "method": "F on chain means"}
    return found | {
        "p": law(cells, table).tail(f),
        "method": f"F by fitted variances: {cells.unbalanced}",
    }


def _hotelling(cells: Layout, table: Array) -> dict[str, Any] | None:
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
    return {"f": f, "df": q, "df_error": n - q, "p": float(fdtrc(q, n - q, f)), "patients": n}
