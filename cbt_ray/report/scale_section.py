"""Section "Scale": ends, consistency, halo, and the answer by ranks."""

from __future__ import annotations

from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report import judge_figures
from cbt_ray.report.figure import titles
from cbt_ray.report.judge_section import ABSENT, estimate, estimate_of, pair, why
from cbt_ray.report.part import Fold, Part, Section
from cbt_ray.report.prose import (
    DASH,
    capital,
    interval_of,
    one,
    percent,
    probability,
    signed,
    text,
    two,
    whole,
)
from cbt_ray.report.table import Column, Table, listed, pick, table, under


def scale(analysis: Analysis) -> Section:
    """Ends, consistency, halo, ranks."""
    parts: list[Part] = [
        judge_figures.ends(analysis),
        _consistency(analysis),
        Fold("What each item adds", [_item(analysis)]),
        _halo(analysis),
        *_ranks(analysis),
    ]
    return Section("scale", "Scale", parts)


def _consistency(analysis: Analysis) -> Table:
    columns: list[Column[Any]] = [
        Column("n", "n", whole),
        Column("alpha", estimate_of("alpha"), estimate),
        Column("Interval for independent rows", ("feldt/low", "feldt/high"), pair),
        Column(
            "omega",
            ("omega/value", "omega/reason"),
            lambda value, reason: two(value) if value is not None else capital(reason) or DASH,
        ),
        Column("What the rows are", "note", text, below=True),
    ]
    names = list(pick(analysis, "/scale/consistency"))
    places = [under("scale", "consistency", name) for name in names]
    note = "Does the scale measure one thing."
    return listed(
        analysis,
        ("t-consistency", "Internal consistency"),
        places,
        columns,
        note=note,
        empty=ABSENT,
        names=names,
    )


def _item(analysis: Analysis) -> Table:
    names = titles(analysis)
    columns: list[Column[Any]] = [
        Column("Item", "item", lambda item: names.get(item, text(item)), prose=True),
        Column("Correlation with the others", "corrected_r", two),
        Column("alpha without it", "alpha_if_deleted", two),
    ]
    return table(
        analysis,
        ("t-item-rest", "What each item adds, over sessions"),
        "/scale/consistency/sessions/items",
        columns,
    )


def _halo(analysis: Analysis) -> Table:
    columns: list[Column[Any]] = [
        Column("Ratings", "n", whole),
        Column(
            "One score on all items",
            ("alike", "share_alike"),
            lambda n, share: DASH if n is None else f"{n} ({percent(share)})",
        ),
        Column("Mean correlation of items within arms", "mean_correlation", two),
        Column("Share of the first component", "first_eigenvalue_share", percent),
        Column("SD of items within a rating", "within_rating_sd", two),
    ]
    every = {
        "headline": "/scale/halo",
        "same sessions, as usual": "/scale/halo/apart/usual",
        "the other way": "/scale/halo/apart/other",
    }
    places = {name: pointer for name, pointer in every.items() if pick(analysis, pointer)}
    note = "Does the judge rate items, or one impression over and over."
    if pick(analysis, "/scale/halo/apart/other"):
        note += " The other way: items rated one at a time instead of together, or the reverse."
    return listed(
        analysis,
        ("t-halo", "Halo"),
        list(places.values()),
        columns,
        note=note,
        empty=ABSENT,
        names=list(places),
    )


def _ranks(analysis: Analysis) -> list[Part]:
    columns: list[Column[Any]] = [
        Column("Contrast", "label"),
        Column("Patients", "patients", whole),
        Column("Signed ranks", "signed_rank", one),
        Column("p", "p", probability),
        Column("p, Holm", "p_adjusted", probability),
        Column("p of plain differences", "p_differences", probability),
        Column(
            "Hodges-Lehmann",
            ("hodges_lehmann/value", "hodges_lehmann/low", "hodges_lehmann/high"),
            _located,
        ),
        Column(
            "Superiority", ("superiority/value", "superiority/low", "superiority/high"), estimate
        ),
        Column(
            "What it cannot say", ("note", "reason", "hodges_lehmann/reason"), _limits, below=True
        ),
    ]
    note = (
        f"{capital(pick(analysis, '/scale/ranks/method'))}. Superiority: the probability that a "
        "treated session scores "
        "higher with the same patient."
    )
    rows = table(
        analysis,
        ("t-ranks", "The primary contrasts by ranks"),
        "/scale/ranks/rows",
        columns,
        note=note,
        empty=why(analysis, "/scale/ranks"),
    )
    fields: list[Column[Any]] = [
        Column("Statistic", "statistic", two),
        Column("df", "df", text),
        Column("p", "p", probability),
        Column("Kendall's W", "w", two),
        Column("Patients", "patients", text),
        Column("Why there is none", "reason", capital, below=True),
    ]
    return [
        rows,
        listed(
            analysis,
            ("t-friedman", "Friedman's test over all arms"),
            ["/scale/ranks/friedman"],
            fields,
        ),
    ]


def _located(value: float | None, low: float | None, high: float | None) -> str:
    return (
        DASH
        if value is None
        else signed(value)
        if low is None
        else f"{signed(value)} ({interval_of(low, high)})"
    )


def _limits(*reasons_: str | None) -> str:
    return " ".join(f"{capital(reason).rstrip('.')}." for reason in reasons_ if reason)
