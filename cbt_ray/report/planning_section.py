"""Sections on the study as a study: what the next one could find, what was declared, claims
recomputed, repeated measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report import planning_figures
from cbt_ray.report.part import Fold, Part, Section, Text
from cbt_ray.report.prose import (
    DASH,
    capital,
    interval_of,
    one,
    percent,
    probability,
    text,
    two,
    whole,
    words,
)
from cbt_ray.report.table import Column, Table, listed, pick, table, under

WINS = (
    "In how many subjects the first condition is the better one; a tie is half a win. Wilson "
    "intervals."
)


def power(analysis: Analysis) -> Section:
    """What this design could find, and how to spend the next study's sessions."""
    parts: list[Part] = [_smallest(analysis), planning_figures.power(analysis)]
    parts.append(Fold("Patients x sessions at equal cost", [_next(analysis)]))
    return Section("power", "The next study", parts)


def _smallest(analysis: Analysis) -> Table:
    columns: list[Column[Any]] = [
        Column("Error term", "error_term"),
        Column("df", "df", text),
        Column("Adjusted", "adjust"),
        Column("alpha", "alpha", lambda value: one(value, 4)),
        Column("Power", "power", percent),
        Column("Smallest difference", "difference", two),
        Column("At the ends of the variance's interval", ("low", "high"), _ends, optional=True),
        Column("d", "d", two),
    ]
    design, variances = (
        pick(analysis, "/power/design") or {},
        pick(analysis, "/power/variances") or {},
    )
    size = (
        f"This design: {design['patients']} patients x {design['sessions']} sessions, "
        f"{design['chains']} chain(s) each. "
        if design
        else ""
    )
    source = (
        f"Variances: {variances['source']}: chains {two(variances['chain'])}, sessions "
        f"{two(variances['residual'])}. "
        if variances
        else ""
    )
    reason = f"{capital(pick(analysis, '/power/reason') or 'none')}."
    note = f"{size}{source}{pick(analysis, '/power/note')}"
    return table(
        analysis,
        ("t-smallest", "The smallest difference that this design could find"),
        "/power/smallest",
        columns,
        note=note,
        empty=reason,
    )


def _ends(low: float | None, high: float | None) -> str:
    return DASH if low is None else interval_of(low, high, 2)


def _next(analysis: Analysis) -> Table:
    columns: list[Column[Any]] = [
        Column("Times this study's sessions", "cost", whole),
        Column("Patients", "patients", whole),
        Column("Sessions per chain", "sessions", whole),
        Column("Own error term, 80 %", "own_80", two),
        Column("90 %", "own_90", two),
        Column("Pooled, 80 %", "pooled_80", two),
        Column("90 %", "pooled_90", two),
    ]
    note = "Smallest difference found with this power; Holm's first step."
    return table(analysis, ("t-next", "Patients x sessions"), "/power/next", columns, note=note)


def repeated(analysis: Analysis) -> Section | None:
    """Conditions compared within subjects, as the ACT study did.

    None where it was not asked for.
    """
    found = pick(analysis, "/repeated")
    if not found:
        return None
    parts: list[Part] = [
        Text(
            f"{found['design']}. Pairs adjusted by {found['adjust']}; {percent(found['level'])} "
            "intervals."
        )
    ]
    for index, measure in enumerate(found["measures"]):
        parts += _measure(analysis, under("repeated", "measures", index), measure)
    return Section("repeated", "Repeated measures", parts)


def _measure(analysis: Analysis, base: str, measure: Mapping[str, Any]) -> list[Part]:
    id_, name = f"t-repeated-{measure['measure']}", measure["title"]
    if measure["reason"]:
        return [Table(id_, name, empty=f"{capital(measure['reason'])}.")]
    tests: list[Column[Any]] = [
        Column("Wald \N{GREEK SMALL LETTER CHI}\N{SUPERSCRIPT TWO}", "omnibus/chi2", two),
        Column("df", "omnibus/df", text),
        Column("p", "omnibus/p", probability),
        Column("Its false alarms at 0.05", "omnibus/type1", percent, optional=True),
        Column("F", "f/f", two),
        Column("df", ("f/df1", "f/df2"), lambda a, b: DASH if a is None else f"{a}, {b}"),
        Column("p", "f/p", probability),
        Column("Epsilon", "f/epsilon", two),
        Column("p, corrected", "f/p_corrected", probability),
        Column("ICC", "variance/icc", two),
        Column("R\N{SUPERSCRIPT TWO}, fixed", "variance/r2_marginal", two),
    ]
    note = (
        f"{measure['subjects']} subjects, {measure['complete']} of them under every condition. "
        "Wald takes the variances as "
        f"known{'; F does not' if pick(measure, '/f/f') is not None else ''}."
    )
    means: list[Column[Any]] = [
        Column("Condition", "condition"),
        Column("n", "n", whole),
        Column("Mean", "mean", two),
        Column("Interval", ("low", "high"), lambda low, high: interval_of(low, high, 2)),
        Column("SD", "sd", two),
        Column("Min", "min", one),
        Column("Max", "max", one),
        Column("No interval", "reason", capital, below=True),
    ]
    pairs: list[Column[Any]] = [
        Column("Condition", "a"),
        Column("and", "b"),
        Column("Difference", "estimate", two),
        Column("z", "wald/z", two),
        Column("p, adjusted", "wald/p_adjusted", probability),
        Column("t", "paired/t", two),
        Column("df", "paired/df", text),
        Column("p, adjusted", "paired/p_adjusted", probability),
        Column(
            "Interval", ("paired/low", "paired/high"), lambda low, high: interval_of(low, high, 2)
        ),
        Column("d", "d_total", two),
    ]
    wins: list[Column[Any]] = [
        Column("Condition", "a"),
        Column("and", "b"),
        Column("Subjects", "n", whole),
        Column("Wins of the first", ("wins/rate", "wins/low", "wins/high"), _wins),
        Column(
            "Won, lost, tied",
            ("wins/wins", "wins/losses", "wins/ties"),
            lambda won, lost, tied: f"{won}, {lost}, {tied}",
        ),
        Column("p of the sign test", "wins/p", probability),
    ]
    note_of_pairs = (
        "z as published, which takes the variances as known; t of the pair itself beside it."
    )
    return [
        listed(analysis, (id_, f"{name}: do conditions differ"), [base], tests, note=note),
        table(analysis, (f"{id_}-means", f"{name}: means"), base + "/means", means),
        table(
            analysis,
            (f"{id_}-pairs", f"{name}: every pair"),
            base + "/pairs",
            pairs,
            note=note_of_pairs,
        ),
        Fold(
            f"{name}: how often one beats the other",
            [table(analysis, (f"{id_}-wins", f"{name}: wins"), base + "/pairs", wins, note=WINS)],
        ),
    ]


def _wins(rate: float | None, low: float | None, high: float | None) -> str:
    return DASH if rate is None else f"{percent(rate)} ({percent(low)} to {percent(high)})"


def claims(analysis: Analysis) -> Section | None:
    """Claims that were published on these scores, recomputed; None where there are none."""
    rows = analysis.get("claims")
    if not rows:
        return None
    source = pick(analysis, "/claims_source")
    told = (
        "Every claim in our words, with its printed number, under the published and the "
        "default analysis. Verdicts are computed."
    )
    parts: list[Part] = [
        Text(
            " ".join(
                filter(
                    None,
                    [
                        source.get("paper", "") and f"{source['paper']}.",
                        told,
                        source.get("not_had"),
                    ],
                )
            )
        )
    ]
    if source.get("counts"):
        columns: list[Column[Any]] = [
            Column(words(name).capitalize(), name, whole)
            for name in ("borne_out", "not_borne_out", "not_testable")
        ]
        names = {"published": "by the published analysis", "default": "by the default analysis"}
        places = [under("claims_source", "counts", name) for name in names]
        parts.append(
            listed(
                analysis, ("t-verdicts", "Verdicts"), places, columns, names=list(names.values())
            )
        )
    failed = [
        n
        for n, claim in enumerate(rows)
        if "not_borne_out" in (claim["published"]["verdict"], claim["default"]["verdict"])
    ]
    parts.append(
        _claims(
            analysis, "t-claims-failed", "Claims that are not borne out, by either analysis", failed
        )
    )
    for number, group in enumerate(dict.fromkeys(claim["group"] for claim in rows)):
        own = [index for index, claim in enumerate(rows) if claim["group"] == group]
        name = capital(words(group))
        parts.append(
            Fold(
                f"{name} ({len(own)})",
                [_claims(analysis, f"t-claims-{number}", f"Claims: {name}", own)],
            )
        )
    return Section("claims", "Claims", parts)


def _claims(analysis: Analysis, id_: str, title: str, rows: Sequence[int]) -> Table:
    columns: list[Column[Any]] = [
        Column("Claim", "text", text, prose=True),
        Column("Printed", "printed", text),
        Column("Recomputed", "published/recomputed", _number),
        Column("As published", "published/verdict", words),
        Column("Default", "default/recomputed", _number),
        Column("By default", "default/verdict", words),
        Column("Remark", ("reading", "published/reason", "default/reason"), _why, below=True),
    ]
    return listed(
        analysis, (id_, title), [under("claims", index) for index in rows], columns, empty="None."
    )


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    return "< 0.001" if 0 < value < 0.0005 else one(value, 3)


def _why(*reasons: str | None) -> str:
    return " ".join(
        dict.fromkeys(f"{capital(reason).rstrip('.')}." for reason in reasons if reason)
    )
