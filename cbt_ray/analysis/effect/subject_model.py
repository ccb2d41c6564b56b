"""The mixed model of values of subjects under conditions, dv ~ C(condition) with a random intercept
per subject, by REML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.anova import NO_VARIATION, mean_squares
from cbt_ray.analysis.effect.pairs import coverage_by_z
from cbt_ray.count import agreeing, many

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.model.nested import Fit

    Array = np.ndarray[Any, np.dtype[Any]]

AGREES = 1e-6
"""Log-likelihoods of the closed form and of the best optimiser further apart than this are named.
"""
KNOWN = "variances taken as known"


@dataclass(frozen=True)
class WaldTest:
    """Wald's chi2 that all conditions are equal."""

    chi2: float
    df: int
    p: float
    error_term: str
    type1: float
    """How often it finds a difference at 0.05 where there is none."""


@dataclass(frozen=True)
class Components:
    """Variance components, and what they explain (Nakagawa & Schielzeth 2013)."""

    subject: float
    residual: float
    icc: float
    r2_marginal: float
    r2_conditional: float
    exact: bool
    """Closed form, as all subjects have every condition."""
    log_likelihood: float


@dataclass(frozen=True)
class ConditionMean:
    """A condition's marginal mean, and the plain description."""

    condition: str
    n: int
    mean: float
    se: float
    reason: str | None
    """Why there is no interval."""
    low: float | None
    high: float | None
    raw_mean: float
    sd: float | None
    min: float
    max: float


@dataclass(frozen=True)
class Cells:
    """One measure, one value a subject and condition."""

    values: Array
    """(subjects, conditions), NaN where there is none; no subject without any."""
    averaged: int
    """Cells that are means of several rows."""

    @property
    def there(self) -> Array:
        """(subjects, conditions): is there a value."""
        import numpy as np

        return ~np.isnan(self.values)

    @property
    def complete(self) -> Array:
        """(complete subjects, conditions)."""
        return self.values[self.there.all(axis=1)]

    @property
    def df(self) -> int:
        """Degrees of freedom of what subjects and conditions leave over.

        (n - 1)(k - 1) where all is there.
        """
        return int(self.there.sum()) - sum(self.values.shape) + 1


def cells_of(
    frame: pd.DataFrame, subject: str, condition: str, measure: str, order: Sequence[str]
) -> Cells:
    """Rows as one value a subject and condition, in the order of conditions."""
    import numpy as np
    import pandas as pd

    own = frame[[subject, condition, measure]].dropna()
    row, _ = pd.factorize(own[subject].astype(str), sort=True)
    column = (
        own[condition]
        .astype(str)
        .map({name: i for i, name in enumerate(order)})
        .to_numpy(dtype=float)
    )
    known = ~np.isnan(column)
    if not known.all():  # conditions that `order` leaves out
        return cells_of(
            frame[frame[condition].astype(str).isin(list(order))],
            subject,
            condition,
            measure,
            order,
        )
    shape = (int(row.max()) + 1 if len(row) else 0, len(order))
    cell = row * shape[1] + column.astype(int)
    counts = np.bincount(cell, minlength=shape[0] * shape[1])
    sums = np.bincount(
        cell, weights=own[measure].to_numpy(dtype=float), minlength=shape[0] * shape[1]
    )
    with np.errstate(invalid="ignore"):
        values = np.where(counts > 0, sums / counts, np.nan).reshape(shape)
    return Cells(values, int((counts > 1).sum()))


def unfit(cells: Cells, order: Sequence[str]) -> str | None:
    """Why no model can be fitted; None where one can."""
    import numpy as np

    if len(order) < 2:
        return f"needs 2 conditions or more, found {len(order)}"
    if len(cells.values) < 2:
        return f"needs 2 subjects or more, found {len(cells.values)}"
    empty = [name for i, name in enumerate(order) if not cells.there[:, i].any()]
    if empty:
        return f"no value under {', '.join(empty)}"
    if cells.df < 1:
        return (
            f"expected more than {many(int(cells.there.sum()), 'value')} for "
            f"{many(len(order), 'condition')} and {many(len(cells.values), 'subject')}"
        )
    if float(np.nanvar(cells.values - _expected(cells))) < NO_VARIATION:
        return "conditions and subjects explain the values entirely: there is no residual variation"
    return None


def _expected(cells: Cells) -> Array:
    """(subjects, conditions): subject + condition, by least squares where cells are absent
    (alternating means).
    """
    import numpy as np

    effect = np.zeros(cells.values.shape[1])
    for _ in range(200):
        subject = np.nanmean(cells.values - effect, axis=1, keepdims=True)
        found = np.nanmean(cells.values - subject, axis=0)
        if np.allclose(found, effect, atol=1e-12):
            break
        effect = found
    return np.asarray(subject + effect)


def fitted(cells: Cells) -> Fit | None:
    """The REML fit; its `problems` are what is to be said of it.

    On complete data the optimum is known exactly, from the mean squares; the optimisers are run all
    the same and must agree.
    """
    import numpy as np

    from cbt_ray.analysis.model import nested

    row, column = np.nonzero(cells.there)
    matrix = np.eye(cells.values.shape[1])[column]
    shift = float(np.nanmean(cells.values))
    data = nested.sums(
        matrix,
        cells.values[row, column] - shift,
        [str(i) for i in range(matrix.shape[1])],
        row,
        None,
    )
    best = nested.fit(data, reml=True)
    problems = (
        [problem.replace("patients", "subjects") for problem in best.problems] if best else []
    )
    if len(cells.complete) < len(cells.values):
        problems.append(
            f"{len(cells.values) - len(cells.complete)} of {many(len(cells.values), 'subject')} "
            f"{agreeing(len(cells.values) - len(cells.complete), 'lacks', 'lack')} a condition"
        )
    else:
        between, _, error = mean_squares(cells.complete)
        exact = nested.evaluate(
            data, [max(0.0, (between / error - 1.0) / matrix.shape[1])], reml=True
        )
        if best and abs(best.log_likelihood - exact.log_likelihood) > AGREES:
            off = best.log_likelihood - exact.log_likelihood
            problems.append(
                f"the optimisers end {off:+.3g} from the exact log-likelihood; the exact fit is "
                "reported"
            )
        best = replace(exact, attempts=best.attempts if best else ())
    return (
        replace(best, estimates=best.estimates + shift, problems=tuple(problems)) if best else None
    )


def omnibus(fit: Fit, df: int) -> WaldTest:
    """All conditions compared at once; `df` are those that the variances truly have."""
    import numpy as np
    from scipy.stats import chi2, f

    q = len(fit.estimates) - 1
    table = np.hstack([-np.ones((q, 1)), np.eye(q)])
    shown = table @ fit.estimates
    value = float(shown @ np.linalg.solve(table @ fit.covariance @ table.T, shown))
    errs = float(f.sf(chi2.isf(0.05, q) / q, q, df))
    return WaldTest(value, q, float(chi2.sf(value, q)), KNOWN, errs)


def components(cells: Cells, fit: Fit) -> Components:
    """The variances of a fit."""
    import numpy as np

    subject, residual = fit.variances["patient"], fit.residual_variance
    explained = float(np.var(fit.estimates[np.nonzero(cells.there)[1]]))
    total = explained + subject + residual
    return Components(
        subject,
        residual,
        icc=subject / (subject + residual),
        r2_marginal=explained / total,
        r2_conditional=(explained + subject) / total,
        exact=len(cells.complete) == len(cells.values),
        log_likelihood=fit.log_likelihood,
    )


def means(cells: Cells, fit: Fit, order: Sequence[str], level: float) -> list[ConditionMean]:
    """Marginal means, with Wald intervals where these hold their level."""
    from scipy.special import ndtri

    _, why = coverage_by_z(len(cells.values) - 1)
    half = None if why else float(ndtri(0.5 + level / 2))
    rows = []
    for i, name in enumerate(order):
        own = cells.values[cells.there[:, i], i]
        mean, se = float(fit.estimates[i]), float(fit.covariance[i, i] ** 0.5)
        rows.append(
            ConditionMean(
                name,
                len(own),
                mean,
                se,
                why,
                None if half is None else mean - half * se,
                None if half is None else mean + half * se,
                raw_mean=float(own.mean()),
                sd=float(own.std(ddof=1)) if len(own) > 1 else None,
                min=float(own.min()),
                max=float(own.max()),
            )
        )
    return rows
