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
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from cbt_ray.analysis.effect.anova import Anova, f_of
from cbt_ray.analysis.effect.pairs import (
    PairByT,
    PairByZ,
    Wins,
    holm_sidak,
    paired,
    wald,
    wins,
)
from cbt_ray.analysis.effect.subject_model import (
    Cells,
    Components,
    ConditionMean,
    WaldTest,
    cells_of,
    components,
    fitted,
    means,
    omnibus,
    unfit,
)
from cbt_ray.analysis.model.ladder import Optimisation
from cbt_ray.rating.measure import MeasureKind

if TYPE_CHECKING:
    import pandas as pd

    from cbt_ray.analysis.model.nested import Fit

ADJUST = "holm-sidak"
Named = tuple[str, str, MeasureKind]
"""Name, title and kind of an outcome."""
NONE: Mapping[Named, pd.DataFrame] = MappingProxyType({})
Tested = TypeVar("Tested", PairByZ, PairByT)


@dataclass(frozen=True)
class ConditionPair:
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
class ComparedMeasure:
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
    ladder: Sequence[Optimisation] = ()
    """What each optimiser found."""
    problems: Sequence[str] = ()
    """What is to be said of the fit."""


@dataclass(frozen=True)
class WithinSubjects:
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
    kind: MeasureKind = "score",
) -> WithinSubjects:
    """Compare conditions within subjects on every measure.

    `frame` holds columns named by `subject`, `condition` and `measures` (numbers, NaN where there
    is none). Several rows of one subject and condition are averaged first: they are no independent
    observations. `conditions` gives their order, else that of the alphabet. Never fails for lack of
    data: a measure that cannot be compared says why under `reason`, and so does one that is no
    score.
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
                cells_of(frame, subject, condition, name, order),
                order,
                level,
                kind,
            )
            for name in measures
        ],
    )


def of_sessions(
    sessions: pd.DataFrame,
    arms: Sequence[str],
    level: float = 0.95,
    others: Mapping[Named, pd.DataFrame] = NONE,
    kind: MeasureKind = "score",
) -> WithinSubjects:
    """Arms compared within patients on means of chains.

    `others`: further outcomes beside the total, each with session rows of its own.

    Session rows whose `total` is NaN where they do not count.
    """
    tables = {("total", "Mean total of a chain", kind): sessions, **others}
    found = [
        repeated(
            _chains(rows).rename(columns={"total": name}),
            "patient",
            "arm",
            [name],
            conditions=list(arms),
            titles={name: title},
            level=level,
            kind=of,
        )
        for (name, title, of), rows in tables.items()
    ]
    return replace(found[0], measures=[measure for one in found for measure in one.measures])


def _chains(sessions: pd.DataFrame) -> pd.DataFrame:
    """The mean total of each chain that has one."""
    rated = sessions[sessions["total"].notna()]
    return rated.groupby(["arm", "patient", "chain"], observed=True)["total"].mean().reset_index()


def _measure(
    names: tuple[str, str], cells: Cells, order: Sequence[str], level: float, kind: MeasureKind
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
    reason = unfit(cells, order) if kind == "score" else f"it is a {kind}, and not a score"
    fit = None if reason else fitted(cells)
    if fit is None:
        return replace(found, reason=reason or "no optimiser found a finite likelihood")
    return replace(
        found,
        omnibus=omnibus(fit, cells.df),
        f=f_of(cells.complete),
        variance=components(cells, fit),
        means=means(cells, fit, order, level),
        pairs=_pairs(cells, fit, order, level),
        ladder=list(fit.attempts),
        problems=list(fit.problems),
    )


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
