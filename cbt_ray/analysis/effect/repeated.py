"""Repeated measures: every subject under every condition, as the ACT study compared six therapists
on 150 profiles.

The published form is a mixed model, dv ~ C(condition) with a random intercept per subject, fitted
by REML: omnibus Wald chi2, all pairs by z, adjusted by Holm and Sidak, and win rates with Wilson
intervals. It takes the variances as known. Beside each of its numbers stands one that does not: F
with (k - 1)(n - 1) degrees of freedom, corrected for unequal variances of the differences
(Greenhouse & Geisser 1959), and each pair's own t.

Source: ttahir-git/The_Thinking_Therapist_Final_Code, Analysis_Mixed_Effects_Sept_7.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.effect.anova import NO_VARIATION, Anova, f_of, mean_squares
from cbt_ray.analysis.effect.pairs import (
    PairByT,
    PairByZ,
    Wins,
    coverage_by_z,
    holm_sidak,
    paired,
    wald,
    wins,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.model.nested import Fit

    Array = np.ndarray[Any, np.dtype[Any]]

ADJUST = "holm-sidak"
AGREES = 1e-6
"""Log-likelihoods of the closed form and of the best optimiser further apart than this are named.
"""
Tested = TypeVar("Tested", PairByZ, PairByT)
KNOWN = "variances taken as known"


@dataclass(frozen=True)
class WaldTest(Keyed):
    """Wald's chi2 that all conditions are equal."""

    chi2: float
    df: int
    p: float
    error_term: str
    type1: float
    """How often it finds a difference at 0.05 where there is none."""


@dataclass(frozen=True)
class Components(Keyed):
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
class ConditionMean(Keyed):
    """A condition's marginal mean, and the plain description beside it."""

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
class ConditionPair(Keyed):
    """Two conditions compared."""

    a: str
    b: str
    n: int
    """Subjects with both."""
    estimate: float
    """By the mixed model."""
    wald: PairByZ
    paired: PairByT
    d_total: float
    """The estimate over the standard deviation of a value, between subjects and within."""
    wins: Wins


@dataclass(frozen=True, kw_only=True)
class ComparedMeasure(Keyed):
    """One measure, compared over all conditions."""

    measure: str
    title: str
    n: int
    """Values."""
    subjects: int
    complete: int
    """Subjects with every condition."""
    averaged: int
    """Cells that are means of several rows."""
    reason: str | None = None
    """Why nothing was computed."""
    omnibus: WaldTest | None = None
    f: Anova | None = None
    variance: Components | None = None
    means: Sequence[ConditionMean] = ()
    pairs: Sequence[ConditionPair] = ()
    ladder: Sequence[Any] = ()
    """What each optimiser found."""
    problems: Sequence[str] = ()
    """What is to be said of the fit."""


@dataclass(frozen=True)
class WithinSubjects(Keyed):
    """Conditions compared within subjects."""

    design: str
    subject: str
    condition: str
    conditions: Sequence[str]
    """In their order."""
    level: float
    adjust: str
    measures: Sequence[ComparedMeasure]


def repeated(
    frame: pd.DataFrame,
    subject: str,
    condition: str,
    measures: Sequence[str],
    *,
    conditions: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
    level: float = 0.95,
) -> WithinSubjects:
    """Compare conditions within subjects on every measure.

    `frame` holds columns named by `subject`, `condition` and `measures` (numbers, NaN where there
    is none). Several rows of one subject and condition are averaged first: they are no independent
    observations. `conditions` gives their order, else that of the alphabet. Never fails for lack of
    data: a measure that cannot be compared says why under `reason`.
    """
    order = list(conditions) or sorted(map(str, frame[condition].dropna().unique()))
    titles = titles or {}
    return WithinSubjects(
        f"measure ~ C({condition}) + (1 | {subject}), REML",
        subject,
        condition,
        order,
        level,
        ADJUST,
        [
            _measure(
                (name, titles.get(name, name)),
                _cells(frame, subject, condition, name, order),
                order,
                level,
            )
            for name in measures
        ],
    )


def of_sessions(sessions: pd.DataFrame, arms: Sequence[str], level: float = 0.95) -> WithinSubjects:
    """Arms compared within patients on means of chains.

    Session rows whose `total` is NaN where they do not count.
    """
    rated = sessions[sessions["total"].notna()]
    chains = rated.groupby(["arm", "patient", "chain"], observed=True)["total"].mean().reset_index()
    titles = {"total": "Mean total of a chain"}
    return repeated(
        chains, "patient", "arm", ["total"], conditions=list(arms), titles=titles, level=level
    )


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


def _cells(
    frame: pd.DataFrame, subject: str, condition: str, measure: str, order: Sequence[str]
) -> Cells:
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
        return _cells(
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


def _measure(
    names: tuple[str, str], cells: Cells, order: Sequence[str], level: float
) -> ComparedMeasure:
    """`names`: of the measure, and its title."""
    found = ComparedMeasure(
        measure=names[0],
        title=names[1],
        n=int(cells.there.sum()),
        subjects=len(cells.values),
        complete=len(cells.complete),
        averaged=cells.averaged,
    )
    reason = _unfit(cells, order)
    fit = None if reason else _fitted(cells)
    if fit is None:
        return replace(found, reason=reason or "no optimiser found a finite likelihood")
    return replace(
        found,
        omnibus=_omnibus(fit, cells.df),
        f=f_of(cells.complete),
        variance=_components(cells, fit),
        means=_means(cells, fit, order, level),
        pairs=_pairs(cells, fit, order, level),
        ladder=list(fit.attempts),
        problems=list(fit.problems),
    )


def _unfit(cells: Cells, order: Sequence[str]) -> str | None:
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
            f"{int(cells.there.sum())} values are too few for {len(order)} conditions and "
            f"{len(cells.values)} subjects"
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


def _fitted(cells: Cells) -> Fit | None:
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
            f"{len(cells.values) - len(cells.complete)} of {len(cells.values)} subjects lack a "
            "condition"
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


def _omnibus(fit: Fit, df: int) -> WaldTest:
    import numpy as np
    from scipy.stats import chi2, f

    q = len(fit.estimates) - 1
    table = np.hstack([-np.ones((q, 1)), np.eye(q)])
    shown = table @ fit.estimates
    value = float(shown @ np.linalg.solve(table @ fit.covariance @ table.T, shown))
    errs = float(f.sf(chi2.isf(0.05, q) / q, q, df))
    return WaldTest(value, q, float(chi2.sf(value, q)), KNOWN, errs)


def _components(cells: Cells, fit: Fit) -> Components:
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


def _means(cells: Cells, fit: Fit, order: Sequence[str], level: float) -> list[ConditionMean]:
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


def _pairs(cells: Cells, fit: Fit, order: Sequence[str], level: float) -> list[ConditionPair]:
    """Every pair of conditions, both p-values adjusted over all pairs."""
    pairs = list(combinations(range(len(order)), 2))
    spread = (fit.variances["patient"] + fit.residual_variance) ** 0.5
    rows = []
    for a, b in pairs:
        both = cells.there[:, a] & cells.there[:, b]
        difference = cells.values[both, a] - cells.values[both, b]
        estimate = float(fit.estimates[a] - fit.estimates[b])
        rows.append(
            ConditionPair(
                order[a],
                order[b],
                int(both.sum()),
                estimate,
                wald(fit, a, b, cells.df, level, len(pairs)),
                paired(difference, level, len(pairs)),
                estimate / spread,
                wins(difference, level),
            )
        )
    by_z, by_t = (_adjusted([row.wald for row in rows]), _adjusted([row.paired for row in rows]))
    return [replace(row, wald=z, paired=t) for row, z, t in zip(rows, by_z, by_t, strict=True)]


def _adjusted(tests: Sequence[Tested]) -> list[Tested]:
    """A p that is not there counts as 1."""
    adjusted = holm_sidak([1.0 if test.p is None else test.p for test in tests])
    return [
        replace(test, p_adjusted=None if test.p is None else p)
        for test, p in zip(tests, adjusted, strict=True)
    ]
