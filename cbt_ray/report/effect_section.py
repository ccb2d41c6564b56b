"""Section "Effects": the families of contrasts, what other ways to count sessions would say, and
the tests over all arms.
"""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.contrast import Contrasted, Difference, Effect
from cbt_ray.analysis.effect.family import Family, ItemEffect, TotalEffect
from cbt_ray.analysis.effect.omnibus import Omnibus
from cbt_ray.report import effect_figures, policy_section
from cbt_ray.report.at import At
from cbt_ray.report.figure import decimals, titles
from cbt_ray.report.outcome_section import outcomes
from cbt_ray.report.part import Fold, Heading, Part, Section
from cbt_ray.report.prose import (
    DASH,
    capital,
    interval_of,
    known_interval,
    one,
    probability,
    signed,
    text,
    two,
)
from cbt_ray.report.table import Column, Table, column, tabulate

D = TypeVar("D", bound=Difference)
R = TypeVar("R", bound=Contrasted)
E = TypeVar("E", bound=Effect)


def effects(analysis: Analysis) -> Section:
    """The section."""
    found = At(analysis)
    primary, secondary = (
        found.of(lambda it: it.contrasts.primary),
        found.of(lambda it: it.contrasts.secondary),
    )
    said = (s for row in primary.value.rows for s in sentences(row.caveat))
    digits, caveat = decimals(analysis), " ".join(dict.fromkeys(said))
    late = policy_section.post_hoc(analysis, "contrasts")
    parts: list[Part] = [
        _family(primary, ("t-primary", "Primary contrasts"), digits, late, caveat),
        _family(secondary, ("t-secondary", "Secondary contrasts"), digits, late),
        _standardized(found),
        effect_figures.interaction(analysis),
        *outcomes(analysis),
        _omnibus(found),
        Heading("Other ways to count sessions"),
        *policy_section.parts(found),
        Fold("Contrasts of every item (exploratory)", [_items(found)]),
    ]
    return Section("effects", "Effects", parts)


def sentences(said: str) -> list[str]:
    """The sentences of a text."""
    return [f"{part.rstrip('.')}." for part in said.split(". ") if part]


def _family(
    found: At[Family[TotalEffect]], place: tuple[str, str], digits: int, late: str, caveat: str = ""
) -> Table:
    """One family of contrasts on totals."""
    family = found.value
    note = f"{late}{capital(family.question)}; adjusted within the family. {caveat}".strip()
    empty = f"{capital(family.reason)}."
    rows = found.each(lambda it: it.rows)
    return tabulate(place, rows, contrast_columns(digits), note=note, empty=empty)


def contrast_columns(digits: int) -> list[Column[E]]:
    """A contrast on totals, with so many decimals."""
    adjusted: Column[E] = column("p, Holm", probability, lambda row: row.p_adjusted)
    return _columns(adjusted, digits)


def _columns(adjusted: Column[R], digits: int) -> list[Column[R]]:
    label: Column[R] = column("Contrast", str, lambda row: row.label)
    plain: list[Column[R]] = difference_columns(digits)
    return [label, *plain[:-1], adjusted, plain[-1]]


def difference_columns(digits: int) -> list[Column[D]]:
    """A difference with so many decimals: each p beside its error term and degrees of freedom."""
    ends, fine = partial(interval_of, digits=digits), max(2, digits)
    return [
        column("Patients", text, lambda row: row.patients),
        column("Difference", partial(signed, digits=digits), lambda row: row.estimate),
        column("Interval", ends, lambda row: row.low, lambda row: row.high),
        column("SE", partial(one, digits=fine), lambda row: row.se),
        column("t", two, lambda row: row.t),
        column("df", _df, lambda row: row.df),
        column("p", probability, lambda row: row.p),
        column(
            "Error term",
            _method,
            lambda row: row.reason,
            lambda row: row.error_term,
            lambda row: row.method,
            below=True,
        ),
    ]


def _df(value: float | None) -> str:
    return DASH if value is None else one(value, 0 if float(value).is_integer() else 1)


def _method(reason: str | None, error_term: str | None, method: str | None) -> str:
    return capital(reason) or "; ".join(filter(None, [error_term, method]))


def _standardized(analysis: At[Analysis]) -> Table:
    note = (
        "d: the difference over the standard deviation of a session within an arm (patient, chain "
        "and session variance of the "
        "default model). REML: the same contrast from that model."
        if analysis.value.models.default.status == "fitted"
        else "d and REML need the default model, which is not fitted."
    )
    if analysis.value.settings.kind != "score":
        note += " A total that is no score has no d."
    rows = [
        *analysis.each(lambda it: it.contrasts.primary.rows),
        *analysis.each(lambda it: it.contrasts.secondary.rows),
    ]
    if any(row.value.pooled for row in rows):
        note += " Pooled: with the error term of all arms, exact where all vary alike."
    columns: list[Column[TotalEffect]] = [
        column("Contrast", str, lambda row: row.label),
        column("d", two, lambda row: row.d),
        column(
            "Interval of d",
            partial(interval_of, digits=2),
            lambda row: row.d_low,
            lambda row: row.d_high,
        ),
        column("REML", partial(signed, digits=decimals(analysis.value)), lambda row: row.reml),
        column(
            "Pooled interval",
            known_interval,
            lambda row: row.pooled.low if row.pooled else None,
            lambda row: row.pooled.high if row.pooled else None,
            optional=True,
        ),
        column("df", _df, lambda row: row.pooled.df if row.pooled else None, optional=True),
        column("p", probability, lambda row: row.pooled.p if row.pooled else None, optional=True),
    ]
    title = "Standardized effects, and the same contrasts by other error terms"
    return tabulate(("t-standardized", title), rows, columns, note=note, empty="No contrast.")


def _omnibus(analysis: At[Analysis]) -> Table:
    rows = analysis.each(lambda it: it.tests)
    note = "F takes the error term of all arms together and supposes that they vary alike"
    if any(row.value.hotelling for row in rows):
        note += (
            "; Hotelling's T squared on the patients' own contrasts supposes nothing of the "
            "kind and pays with degrees of freedom"
        )
    columns: list[Column[Omnibus]] = [
        column("Effect", str, lambda row: row.effect),
        column("F", two, lambda row: row.f),
        column("df", _two_df, lambda row: row.df, lambda row: row.df_error),
        column("p", probability, lambda row: row.p),
        column(
            "F of T\N{SUPERSCRIPT TWO}",
            two,
            lambda row: row.hotelling.f if row.hotelling else None,
            optional=True,
        ),
        column(
            "df",
            _two_df,
            lambda row: row.hotelling.df if row.hotelling else None,
            lambda row: row.hotelling.df_error if row.hotelling else None,
            optional=True,
        ),
        column(
            "p", probability, lambda row: row.hotelling.p if row.hotelling else None, optional=True
        ),
        column(
            "Error term",
            _method,
            lambda row: row.reason,
            lambda row: row.error_term,
            lambda row: row.method,
            below=True,
        ),
    ]
    none = "There is one arm." if analysis.value.arms else "No arm."
    return tabulate(("t-omnibus", "Omnibus tests"), rows, columns, note=f"{note}.", empty=none)


def _two_df(first: float | None, second: float | None) -> str:
    return DASH if first is None else f"{_df(first)}, {_df(second)}"


def _items(analysis: At[Analysis]) -> Table:
    names = titles(analysis.value)
    q: Column[ItemEffect] = column("q", probability, lambda row: row.q)

    def named(item: str) -> str:
        return names.get(item, text(item))

    columns = [
        column("Item", named, lambda row: row.item, prose=True),
        *_columns(q, decimals(analysis.value)),
    ]
    family = analysis.of(lambda it: it.contrasts.items)
    note = "False discovery rate over all items and contrasts (Benjamini and Hochberg)."
    return tabulate(
        ("t-items", "Contrasts of every item"),
        family.each(lambda it: it.rows),
        columns,
        note=note,
        empty=f"{capital(family.value.reason)}.",
    )
