"""Sections "Judge" and "Scale": does the judge read what it rates, repeat itself, agree with
others; does the scale measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report import judge_figures
from cbt_ray.report.effect_section import contrast_columns, difference_columns
from cbt_ray.report.figure import repeats, titles
from cbt_ray.report.part import Fold, Heading, Part, Section, Text
from cbt_ray.report.prose import (
    DASH,
    capital,
    interval_of,
    one,
    percent,
    reasons,
    two,
    whole,
    words,
)
from cbt_ray.report.table import Cell, Column, Row, Table, cell, listed, pick, table, under

ABSENT = "The analysis has no such section."
SAMPLED = ("icc2_1", "icc2_k")
"""Coefficients that hold for judges drawn at random, too, where there are enough of them."""


def judge(analysis: Analysis) -> Section:
    """Probes, repeatability, agreement, other views."""
    parts: list[Part] = [
        Text(_headline(analysis)),
        _probes(analysis),
        judge_figures.probes(analysis),
        Heading("Does the judge repeat itself"),
        _replicates(analysis),
        *_item_replicates(analysis),
        Heading("Do judges agree"),
        *_between(analysis),
        Heading("Do people agree with the judge"),
        _people(analysis),
        judge_figures.bias(analysis),
        _kappa(analysis),
        *_views(analysis),
    ]
    return Section("judge", "Judge", parts)


def _headline(analysis: Analysis) -> str:
    judges = ", ".join(f"{name} ({kind})" for name, kind in (analysis.get("judges") or {}).items())
    return (
        f"The headline rests on the ratings of {analysis['judge']} in the {analysis['view']} view. "
        "Judges of these sessions: "
        f"{judges or 'none'}."
    )


def _probes(analysis: Analysis) -> Table:
    title = "Probes of the judge"
    if analysis.robustness is None:
        return Table("t-probes", title, empty=ABSENT)
    columns: list[Column[Any]] = [
        Column("Probe", "title", capital, prose=True),
        Column("Sessions", ("n", "scheduled"), lambda n, of: f"{n} of {of}"),
        Column("Estimate", ("estimate", "unit"), _measure),
        Column("Interval", ("low", "high", "unit", "interval_reason"), _measured_interval),
        Column("Threshold", ("threshold/value", "unit"), _measure),
        Column("Verdict", "verdict", words),
        Column("What it says", ("text", "reason", "unanswered"), _said, below=True),
    ]
    places = [under("robustness", "probes", name) for name in pick(analysis, "/robustness/probes")]
    verdict = words(pick(analysis, "/robustness/verdict"))
    if not any(pick(analysis, f"{at}/scheduled") for at in places):
        return Table("t-probes", title, empty="No session was probed.")
    note = (
        f"Verdict on the headline judge: {verdict}. Sessions that were spoilt on purpose and rated "
        "again; thresholds were "
        "declared in the study file."
    )
    return listed(
        analysis, ("t-probes", title), places, columns, note=note, empty="No probe is defined."
    )


def _measure(value: float | None, unit: str | None) -> str:
    if value is None:
        return DASH
    return (
        percent(value)
        if unit == "share"
        else f"{two(value)} points"
        if unit == "points"
        else two(value)
    )


def _measured_interval(
    low: float | None, high: float | None, unit: str | None, reason: str | None
) -> str:
    if low is None:
        return words(reason) if reason else DASH
    return f"{percent(low)} to {percent(high)}" if unit == "share" else interval_of(low, high, 2)


def _said(told: str | None, reason: str | None, unanswered: Mapping[str, int] | None) -> str:
    parts = [
        told or "",
        f"Why: {words(reason)}." if reason else "",
        f"Unanswered: {reasons(unanswered)}." if unanswered else "",
    ]
    return " ".join(filter(None, parts))


def estimate(
    value: float | None, low: float | None, high: float | None, reason: str | None = None
) -> str:
    """A value with its interval, or why there is none."""
    if value is None:
        return reason or DASH
    return two(value) if low is None else f"{two(value)} ({interval_of(low, high, 2)})"


def estimate_of(field: str) -> tuple[str, ...]:
    """The fields of an estimate with its interval."""
    return tuple(f"{field}/{name}" for name in ("value", "low", "high", "reason"))


def _replicates(analysis: Analysis) -> Table:
    title = "Repeatability of each judge on the total"
    columns: list[Column[Any]] = [
        Column("Judge", "judge"),
        Column("Kind", "kind"),
        Column("Sessions", "total/sessions", whole),
        Column("Rated again", "total/repeated", whole),
        Column("SD within a session", estimate_of("total/within_session_sd"), estimate, prose=True),
        Column("ICC(1,1)", estimate_of("total/single"), estimate, prose=True),
        Column("ICC(1,k)", estimate_of("total/average"), estimate, prose=True),
        Column("k", "total/k", one),
    ]
    note = f"Intervals: {pick(analysis, '/reliability/method')}."
    if repeats(analysis):
        note = f"Replicates of a judge are folded into their session. {note}"
    return table(
        analysis,
        ("t-replicates", title),
        "/reliability/replicates",
        columns,
        note=note,
        empty="No judge has rated.",
    )


def _item_replicates(analysis: Analysis) -> list[Part]:
    """ICC(1,1) of each item, a column for each judge that rated a session more than once."""
    judges = pick(analysis, "/reliability/replicates")
    known = [n for n, row in enumerate(judges) if row["total"]["repeated"]]
    if not known:
        return []
    names, rows = titles(analysis), []
    for index, item in enumerate(judges[known[0]]["items"]):
        bases = [under("reliability", "replicates", n, "items", index, "single") for n in known]
        cells = [
            cell(
                analysis, estimate, *(f"{base}/{end}" for end in ("value", "low", "high", "reason"))
            )
            for base in bases
        ]
        rows.append(Row([Cell(names.get(item["item"], item["item"])), *cells]))
    head = [("Item", True), *((f"{judges[n]['judge']}, ICC(1,1)", False) for n in known)]
    return [
        Fold(
            "Repeatability of each item",
            [Table("t-item-replicates", "Repeatability of each item", head, rows)],
        )
    ]


def why(analysis: Analysis, pointer: str) -> str:
    """Why a part of the analysis holds nothing."""
    return f"{capital(pick(analysis, pointer + '/reason') or 'there is none')}."


def _between(analysis: Analysis) -> list[Part]:
    base = "/reliability/judges"
    if not pick(analysis, base + "/pairs"):
        return [Text(why(analysis, base), "empty")]
    fixed = (
        "Fewer than five judges are fixed: intervals hold for these very judges. "
        if pick(analysis, base + "/fixed")
        else ""
    )
    pairs = table(
        analysis,
        ("t-judge-pairs", "Agreement of each pair of judges on the total"),
        base + "/pairs",
        [
            Column("Judge", "a"),
            Column("and", "b"),
            Column("Sessions", "sessions", whole),
            Column("ICC(2,1), absolute", estimate_of("icc2_1"), estimate),
            Column("ICC(3,1), consistent", estimate_of("icc3_1"), estimate),
            Column("Mean difference", estimate_of("difference"), estimate),
        ],
        note=f"{fixed}{'Replicates averaged; sessions' if repeats(analysis) else 'Sessions'} that "
        "both rated.",
    )
    effects = table(
        analysis,
        ("t-judge-effects", "What each judge adds"),
        base + "/effects",
        [
            Column("Judge", "judge"),
            Column(
                "Difference from the mean of the others",
                ("value", "low", "high", "reason"),
                estimate,
            ),
        ],
        note="Over the sessions that all judges rated.",
        empty="No session was rated by all judges.",
    )
    return [_all_judges(analysis), pairs, effects, _worst(analysis)]


def _all_judges(analysis: Analysis) -> Table:
    base = "/reliability/judges/agreement"
    names = {"icc2_1": "ICC(2,1)", "icc2_k": "ICC(2,k)", "icc3_1": "ICC(3,1)", "icc3_k": "ICC(3,k)"}
    if not pick(analysis, base):
        return Table("t-icc", "Agreement of all judges", empty=why(analysis, "/reliability/judges"))
    rows: list[Row] = []
    drawn = pick(analysis, base + "/icc2_1/random_judges") is not None
    for name, title in names.items():
        value = cell(analysis, estimate, *(f"{base}/{field}" for field in estimate_of(name)))
        at = f"{base}/{name}/random_judges"
        random = (
            [cell(analysis, pair, at + "/low", at + "/high") if name in SAMPLED else Cell(DASH)]
            if drawn
            else []
        )
        rows.append(Row([Cell(title), value, *random]))
    last = [("Interval for judges drawn at random", False)] if drawn else []
    head = [("Coefficient", False), ("Value, interval for these judges", False), *last]
    count = pick(analysis, "/reliability/judges/sessions")
    return Table(
        "t-icc",
        "Agreement of all judges on the total",
        head,
        rows,
        f"Over {count} sessions that all judges rated.",
    )


def pair(low: float | None, high: float | None) -> str:
    """An interval with two decimals; a dash where there is none."""
    return DASH if low is None else interval_of(low, high, 2)


def _worst(analysis: Analysis) -> Table:
    base = "/reliability/judges/worst_case"
    columns: list[Column[Any]] = [Column("Judge", "judge"), *difference_columns()]
    rows = pick(analysis, base + "/rows")
    places = [
        (f"{base}/rows/{n}/judges/{place}", row["label"])
        for n, row in enumerate(rows)
        for place in range(len(row["judges"]))
    ]
    least = pick(analysis, base + "/least_favourable/judge")
    note = "The primary contrasts by each judge alone; unrated sessions left out."
    if least:
        note += f" Least favourable to the first side: {least}."
    where, none = ("t-worst", "The answer judge by judge"), why(analysis, base)
    return listed(
        analysis,
        where,
        [at for at, _ in places],
        columns,
        note=note,
        empty=none,
        names=[label for _, label in places],
    )


def _people(analysis: Analysis) -> Table:
    columns: list[Column[Any]] = [
        Column("Rater", "rater"),
        Column("People", "people", whole),
        Column("Sessions", "sessions", whole),
        Column("ICC(2,1), absolute", estimate_of("icc2_1"), estimate),
        Column("ICC(3,1), consistent", estimate_of("icc3_1"), estimate),
        Column("Bias", estimate_of("bias"), estimate),
        Column(
            "Limits of agreement",
            ("limits/lower/value", "limits/upper/value"),
            lambda low, high: DASH if low is None else interval_of(low, high),
        ),
        Column("Why there is none", "reason", capital, below=True),
    ]
    note = (
        "The headline judge against people; bias is the judge minus the person, in points of "
        "the total."
    )
    where, none = ("t-people", "Agreement with people"), why(analysis, "/reliability/humans")
    return table(analysis, where, "/reliability/humans/raters", columns, note=note, empty=none)


def _kappa(analysis: Analysis) -> Part:
    """Items in rows; judges with replicates, pairs of judges and people in columns."""
    title, columns = "Weighted kappa of each item", []
    for name, label in (("replicates", "{judge}, replicates"), ("pairs", "{a} and {b}")):
        for index, found in enumerate(pick(analysis, f"/reliability/kappa/{name}")):
            columns.append(
                (label.format(**found), under("reliability", "kappa", name, index, "items"))
            )
    for index, found in enumerate(pick(analysis, "/reliability/humans/raters")):
        columns.append(
            (
                f"judge and {found['rater']}",
                under("reliability", "humans", "raters", index, "kappa"),
            )
        )
    known = [
        (label, base)
        for label, base in columns
        if any(one_of.get("value") is not None for one_of in pick(analysis, base))
    ]
    if not known:
        return Table(
            "t-kappa",
            title,
            empty="No item was rated more than once, by replicates, judges or people.",
        )
    names = titles(analysis)
    rows = []
    for index, item in enumerate(pick(analysis, known[0][1])):
        cells = [
            cell(
                analysis,
                estimate,
                *(f"{base}/{index}/{field}" for field in ("value", "low", "high")),
            )
            for _, base in known
        ]
        rows.append(Row([Cell(names.get(item["item"], item["item"])), *cells]))
    head = [("Item", True), *((label, False) for label, _ in known)]
    note = "Quadratic weights over the scale's full range, with an interval where there is one."
    return Fold("Weighted kappa of each item", [Table("t-kappa", title, head, rows, note)])


def _views(analysis: Analysis) -> list[Part]:
    parts: list[Part] = []
    for index, view in enumerate(analysis.get("views") or {}):
        note = f"What the headline judge says of the same sessions in the {view} view."
        pointer = under("views", view, "contrasts")
        parts.append(
            table(
                analysis,
                (f"t-view-{index}", f"Contrasts in the {view} view"),
                pointer,
                contrast_columns(),
                note=note,
            )
        )
    return parts
