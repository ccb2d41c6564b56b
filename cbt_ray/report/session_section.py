"""Section "Sessions": the flow, flags and how far they can be trusted, and what other stop rules
would have ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report import session_figures
from cbt_ray.report.part import Fold, Part, Section
from cbt_ray.report.prose import DASH, capital, one, reasons, text, two, whole, words
from cbt_ray.report.table import Column, Table, listed, table, under


def sessions(analysis: Analysis) -> Section:
    """The section."""
    parts: list[Part] = [
        session_figures.flow(analysis),
        _flow(analysis),
        session_figures.flags(analysis),
        *(_detectors(analysis) if analysis.get("detectors") else []),
        *(_stop_rules(analysis) if analysis.get("stop_rules") else []),
    ]
    return Section("sessions", "Sessions", parts)


def _flow(analysis: Analysis) -> Table:
    columns: list[Column[Any]] = [
        Column("Arm", "arm"),
        Column("Scheduled", "scheduled", whole),
        Column("Reached", "reached", whole),
        Column("Held", "done", whole),
        Column("Rated", "rated", whole),
        Column("Rated and flagged", "flagged", whole),
        Column("Unrated", "unrated", reasons, prose=True),
        Column("Ended by", "stop_reasons", reasons, prose=True),
    ]
    return table(
        analysis,
        ("t-flow", "Scheduled sessions, by arm and reason"),
        "/flow",
        columns,
        empty="No session is scheduled.",
    )


def _detectors(analysis: Analysis) -> list[Part]:
    columns: list[Column[Any]] = [
        Column("Flag", "flag", words),
        Column("Status", "status", words),
        Column("Precision", ("precision", "precision_interval"), _share),
        Column("Recall", ("recall", "recall_interval"), _share),
        Column("Labelled sessions", "n", text),
        Column("With the flag", "positives", text),
        Column("Not validated", "reason", capital, below=True),
    ]
    measured = any(row["n"] is not None for row in analysis["detectors"])
    by = sorted({row["labelled_by"] for row in analysis["detectors"]})
    note = (
        f"How the detectors of flags agree with sessions labelled by {', '.join(by)}."
        if measured
        else ""
    )
    parts: list[Part] = [
        table(analysis, ("t-detectors", "Detectors of flags"), "/detectors", columns, note=note)
    ]
    places = [
        (under("detectors", n, "rules", at), words(row["flag"]))
        for n, row in enumerate(analysis["detectors"])
        for at in range(len(row["rules"]))
    ]
    if not places:
        return parts
    rules: list[Column[Any]] = [
        Column("Rule", "rule", text, prose=True),
        Column("Sessions of this study", "sessions", whole),
        Column("Labelled sessions", "fired", text, optional=True),
        Column("Right", "right", text, optional=True),
        Column("Precision", ("precision", "precision_interval"), _share, optional=True),
        Column("Not validated", "reason", capital, prose=True, optional=True),
    ]
    told = "In how many sessions each rule fired" + (
        ", and how often it was right in those that were labelled." if measured else "."
    )
    where, names = ("t-flag-rules", "Rules behind the flags"), [name for _, name in places]
    fold = Fold(
        "Rules behind the flags",
        [listed(analysis, where, [at for at, _ in places], rules, note=told, names=names)],
    )
    return [*parts, fold]


def _share(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return DASH
    return (
        two(value)
        if interval is None
        else f"{two(value)} ({two(interval[0])} to {two(interval[1])})"
    )


def _stop_rules(analysis: Analysis) -> list[Part]:
    columns: list[Column[Any]] = [
        Column("Arm", "arm", text),
        Column("Rule", "rule", words),
        Column("From therapist turn", "min_therapist_turns", text),
        Column("Limit", "limit", text, optional=True),
        Column("Sessions", "sessions", whole),
        Column("Would end", "ended", whole),
        Column(
            "At message (quartiles)", ("message/q1", "message/median", "message/q3"), _quartiles
        ),
        Column("On the first therapist turn", "first_therapist_turn", whole),
        Column("By phrase", "phrases", _phrases, below=True),
    ]
    note = (
        "Each rule on its own, replayed over the sessions as they were held. A session that "
        "another rule had ended says nothing "
        "of what this one would have done later."
    )
    rows = [
        (f"/stop_rules/{index}", row["arm"]) for index, row in enumerate(analysis["stop_rules"])
    ]
    together, each = (
        [pointer for pointer, arm in rows if (arm is None) is whole_study]
        for whole_study in (True, False)
    )
    return [
        listed(
            analysis,
            ("t-stop-rules", "Stop rules replayed over all sessions"),
            together,
            columns[1:],
            note=note,
        ),
        Fold(
            "Stop rules in each arm",
            [listed(analysis, ("t-stop-rules-arms", "Stop rules replayed, by arm"), each, columns)],
        ),
    ]


def _quartiles(low: float | None, median: float | None, high: float | None) -> str:
    return DASH if median is None else f"{one(low)}, {one(median)}, {one(high)}"


def _phrases(found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} by \N{LEFT DOUBLE QUOTATION MARK}{phrase}\N{RIGHT DOUBLE QUOTATION MARK}"
        for phrase, count in found.items()
    )
