"""Section "Judge": does the judge read what it rates, repeat itself, agree with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.judge.probe import Measured, Moved
from cbt_ray.analysis.judge.reliability import JudgeRepeats
from cbt_ray.report import agreement_section
from cbt_ray.report.agreement_section import by_item
from cbt_ray.report.at import At
from cbt_ray.report.effect_section import contrast_columns
from cbt_ray.report.figure import Figure, decimals, repeats
from cbt_ray.report.part import Heading, Part, Section, Text
from cbt_ray.report.prose import (
    DASH,
    capital,
    estimate,
    interval_of,
    one,
    percent,
    reasons,
    text,
    two,
    whole,
    words,
)
from cbt_ray.report.svg import Scale, axis_x, drawing, line, marker, nice, tag
from cbt_ray.report.svg import text as label
from cbt_ray.report.table import Column, Table, column, tabulate
from cbt_ray.study.probe import ProbeName

WIDTH = 560


def judge(analysis: Analysis) -> Section:
    """Probes, repeatability, agreement, other views."""
    everything = At(analysis)
    probes = _probe_rows(everything)
    parts: list[Part] = [
        Text(_headline(analysis)),
        _probes(analysis, probes),
        probes_figure([probe.value for probe in probes]),
        Heading("Does the judge repeat itself"),
        _replicates(everything),
        *_item_replicates(everything),
        Heading("Do judges agree"),
        *agreement_section.between(everything),
        Heading("Do people agree with the judge"),
        agreement_section.people(everything),
        *agreement_section.learned(everything),
        agreement_section.bias(analysis.reliability.humans),
        agreement_section.kappa(everything),
        *_views(everything),
    ]
    return Section("judge", "Judge", parts)


def _headline(analysis: Analysis) -> str:
    judges = ", ".join(f"{name} ({kind})" for name, kind in analysis.judges.items())
    return (
        f"The headline rests on the ratings of {analysis.judge} in the {analysis.view} view. "
        f"Judges of these sessions: {judges or 'none'}."
    )


def _probe_rows(everything: At[Analysis]) -> list[At[Measured]]:
    rows = everything.named(lambda all_: all_.robustness.probes if all_.robustness else {})
    return [rows[name] for name in get_args(ProbeName) if name in rows]


def _probes(analysis: Analysis, rows: Sequence[At[Measured]]) -> Table:
    title = "Probes of the judge"
    if analysis.robustness is None:
        return Table("t-probes", title, empty="The analysis has no such section.")
    columns: list[Column[Measured]] = [
        column("Probe", capital, lambda row: row.title, prose=True),
        column("Sessions", _of, lambda row: row.n, lambda row: row.scheduled),
        column("Estimate", _measure, lambda row: row.estimate.value, lambda row: row.unit),
        column("Interval", _measured_interval, lambda row: row.estimate, lambda row: row.unit),
        column("Threshold", _measure, lambda row: row.threshold.value, lambda row: row.unit),
        column("Verdict", words, lambda row: row.verdict),
        column(
            "What it says",
            _said,
            lambda row: row.text,
            lambda row: row.reason,
            lambda row: row.unanswered,
            below=True,
        ),
    ]
    if not any(row.value.scheduled for row in rows):
        return Table("t-probes", title, empty="No session was probed.")
    note = (
        f"Verdict on the headline judge: {words(analysis.robustness.verdict)}. Sessions that were "
        "spoilt on purpose and rated again; thresholds were declared in the study file."
    )
    return tabulate(("t-probes", title), rows, columns, note=note)


def _of(n: int, scheduled: int) -> str:
    return f"{n} of {scheduled}"


def _measure(value: float | None, unit: str) -> str:
    if value is None or unit == "share":
        return percent(value)
    return f"{two(value)} points" if unit == "points" else two(value)


def _measured_interval(found: Estimate, unit: str) -> str:
    if found.low is None:
        return words(found.reason) if found.reason else DASH
    if unit == "share":
        return f"{percent(found.low)} to {percent(found.high)}"
    return interval_of(found.low, found.high, 2)


def _said(told: str, reason: str | None, unanswered: Mapping[str, int]) -> str:
    parts = [
        told,
        f"Why: {words(reason)}." if reason else "",
        f"Unanswered: {reasons(unanswered)}." if unanswered else "",
    ]
    return " ".join(filter(None, parts))


def probes_figure(rows: Sequence[Measured]) -> Figure:
    """What spoiling a session does to its total: mean as rated, mean as probed."""
    title = "What each probe does to the mean total"
    caption = (
        "Hollow: the probed sessions as they were rated; filled: the same sessions as the probe "
        "showed them. A judge that reads "
        "must let the spoilt ones fall, and must not move with style. Numbers and thresholds are "
        "in the table of probes."
    )
    drawn = [(row, row.moved) for row in rows if row.moved is not None]
    if not drawn:
        return Figure(
            "probes", title, caption, empty="Not drawn: no probe of the judge was answered."
        )
    values = [end for _, moved in drawn for end in (moved.rated, moved.probed)]
    ticks = nice(min(values), max(values), 6)
    scale = Scale(ticks[0], ticks[-1], 14, WIDTH - 14)
    bottom = 8 + 44 * len(drawn)
    lines = [_dumbbell(*found, scale, 24 + 44 * index) for index, found in enumerate(drawn)]
    axis = axis_x(scale, ticks, bottom, 4, "mean total")
    return Figure(
        "probes", title, caption, [drawing(WIDTH, bottom + 40, title, axis, *lines, class_="fluid")]
    )


def _dumbbell(row: Measured, moved: Moved, scale: Scale, y: float) -> Markup:
    note = f"{one(moved.rated)} \N{RIGHTWARDS ARROW} {one(moved.probed)}, {words(row.verdict)}"
    before, after = scale(moved.rated), scale(moved.probed)
    look = "dot s1" if row.verdict == "failed" else "dot s0"
    return tag(
        "g",
        label(14, y, capital(row.title), "start", "halo"),
        label(WIDTH - 14, y, note, "end", "num halo"),
        line(before, y + 13, after, y + 13, "whisker"),
        marker(before, y + 13, 0, "dot s0 hollow", 4),
        marker(after, y + 13, 1, look, 4),
    )


def _replicates(everything: At[Analysis]) -> Table:
    columns: list[Column[JudgeRepeats]] = [
        column("Judge", text, lambda row: row.judge),
        column("Kind", text, lambda row: row.kind),
        column("Sessions", whole, lambda row: row.total.sessions),
        column("Rated again", whole, lambda row: row.total.repeated),
        column(
            "SD within a session", estimate, lambda row: row.total.within_session_sd, prose=True
        ),
        column("ICC(1,1)", estimate, lambda row: row.total.single, prose=True),
        column("ICC(1,k)", estimate, lambda row: row.total.average, prose=True),
        column("k", one, lambda row: row.total.k),
    ]
    note = f"Intervals: {everything.value.reliability.method}."
    if repeats(everything.value):
        note = f"Replicates of a judge are folded into their session. {note}"
    rows = everything.each(lambda all_: all_.reliability.replicates)
    place = ("t-replicates", "Repeatability of each judge on the total")
    return tabulate(place, rows, columns, note=note, empty="No judge has rated.")


def _item_replicates(everything: At[Analysis]) -> list[Part]:
    """ICC(1,1) of each item, a column for each judge that rated a session more than once."""
    rows = everything.each(lambda all_: all_.reliability.replicates)
    columns = [
        (
            f"{row.value.judge}, ICC(1,1)",
            {
                item: found.of(lambda of_item: of_item.single)
                for item, found in row.named(lambda of_judge: of_judge.items).items()
            },
        )
        for row in rows
        if row.value.total.repeated
    ]
    place = ("t-item-replicates", "Repeatability of each item")
    return [by_item(everything, place, columns, estimate)] if columns else []


def _views(everything: At[Analysis]) -> list[Part]:
    return [
        tabulate(
            (f"t-view-{index}", f"Contrasts in the {view} view"),
            found.each(lambda of_view: of_view.contrasts),
            contrast_columns(decimals(everything.value)),
            note=f"What the headline judge says of the same sessions in the {view} view.",
        )
        for index, (view, found) in enumerate(everything.named(lambda all_: all_.views).items())
    ]
