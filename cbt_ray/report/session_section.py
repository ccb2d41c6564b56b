"""Section "Sessions": the flow, flags and how far they can be trusted, and what other stop rules
would have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.flow import Flow
from cbt_ray.report import session_figures
from cbt_ray.report.at import At
from cbt_ray.report.part import Fold, Part, Section
from cbt_ray.report.prose import DASH, capital, one, reasons, text, two, whole, words
from cbt_ray.report.table import Column, Table, column, tabulate
from cbt_ray.therapy.replay import ReplayedRule
from cbt_ray.therapy.validation import Detector, FiredRule


def sessions(analysis: Analysis) -> Section:
    """The section."""
    everything = At(analysis)
    detectors = everything.each(lambda found: found.detectors or ())
    rules = everything.each(lambda found: found.stop_rules or ())
    parts: list[Part] = [
        session_figures.flow(analysis.flow),
        _flow(analysis),
        session_figures.flags(analysis.flags),
        *(_detectors(detectors) if detectors else []),
        *(_stop_rules(rules) if rules else []),
    ]
    return Section("sessions", "Sessions", parts)


def _flow(analysis: Analysis) -> Table:
    columns: list[Column[Flow]] = [
        column("Arm", str, lambda row: row.arm),
        column("Scheduled", whole, lambda row: row.scheduled),
        column("Reached", whole, lambda row: row.reached),
        column("Held", whole, lambda row: row.held),
        column("Rated", whole, lambda row: row.rated),
        column("Rated and flagged", whole, lambda row: row.flagged),
        column("Unrated", reasons, lambda row: row.unrated, prose=True),
        column("Ended by", reasons, lambda row: row.stop_reasons, prose=True),
    ]
    return tabulate(
        ("t-flow", "Scheduled sessions, by arm and reason"),
        At(analysis).each(lambda found: found.flow),
        columns,
        empty="No session is scheduled.",
    )


def _detectors(detectors: Sequence[At[Detector]]) -> list[Part]:
    columns: list[Column[Detector]] = [
        column("Flag", words, lambda row: row.flag),
        column("Status", words, lambda row: row.status),
        column(
            "Precision",
            _share,
            lambda row: row.labelled.precision if row.labelled else None,
            lambda row: row.labelled.precision_interval if row.labelled else None,
        ),
        column(
            "Recall",
            _share,
            lambda row: row.labelled.recall if row.labelled else None,
            lambda row: row.labelled.recall_interval if row.labelled else None,
        ),
        column("Labelled sessions", text, lambda row: row.labelled.n if row.labelled else None),
        column("With the flag", text, lambda row: row.labelled.positives if row.labelled else None),
        column("Not validated", capital, lambda row: row.reason, below=True),
    ]
    measured = any(detector.value.labelled for detector in detectors)
    by = sorted({detector.value.labelled_by for detector in detectors})
    note = (
        f"How the detectors of flags agree with sessions labelled by {', '.join(by)}."
        if measured
        else ""
    )
    place = ("t-detectors", "Detectors of flags")
    return [
        tabulate(place, detectors, columns, note=note),
        *_flag_rules(detectors, measured=measured),
    ]


def _flag_rules(detectors: Sequence[At[Detector]], *, measured: bool) -> list[Part]:
    columns: list[Column[FiredRule]] = [
        column("Rule", text, lambda row: row.rule, prose=True),
        column("Sessions of this study", whole, lambda row: row.sessions),
        column("Labelled sessions", text, lambda row: row.fired, optional=True),
        column("Right", text, lambda row: row.right, optional=True),
        column(
            "Precision",
            _share,
            lambda row: row.precision,
            lambda row: row.precision_interval,
            optional=True,
        ),
        column("Not validated", capital, lambda row: row.reason, prose=True, optional=True),
    ]
    found = [
        (words(detector.value.flag), rule)
        for detector in detectors
        for rule in detector.each(lambda row: row.rules)
    ]
    if not found:
        return []
    told = "In how many sessions each rule fired" + (
        ", and how often it was right in those that were labelled." if measured else "."
    )
    title, names = "Rules behind the flags", [name for name, _ in found]
    rules = [rule for _, rule in found]
    table = tabulate(("t-flag-rules", title), rules, columns, note=told, names=names)
    return [Fold(title, [table])]


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return DASH
    return (
        two(value)
        if interval is None
        else f"{two(value)} ({two(interval[0])} to {two(interval[1])})"
    )


def _stop_rules(rules: Sequence[At[ReplayedRule]]) -> list[Part]:
    columns: list[Column[ReplayedRule]] = [
        column("Arm", text, lambda row: row.arm),
        column("Rule", words, lambda row: row.rule),
        column("From therapist turn", text, lambda row: row.min_therapist_turns),
        column("Limit", text, lambda row: row.limit, optional=True),
        column("Sessions", whole, lambda row: row.sessions),
        column("Would end", whole, lambda row: row.ended),
        column(
            "At message (quartiles)",
            _quartiles,
            lambda row: row.message.q1 if row.message else None,
            lambda row: row.message.median if row.message else None,
            lambda row: row.message.q3 if row.message else None,
        ),
        column("On the first therapist turn", whole, lambda row: row.first_therapist_turn),
        column("By phrase", _phrases, lambda row: row.phrases, below=True),
    ]
    note = (
        "Each rule on its own, replayed over the sessions as they were held. A session that "
        "another rule had ended says nothing "
        "of what this one would have done later."
    )
    together = [rule for rule in rules if rule.value.arm is None]
    each = [rule for rule in rules if rule.value.arm is not None]
    total = ("t-stop-rules", "Stop rules replayed over all sessions")
    by_arm = ("t-stop-rules-arms", "Stop rules replayed, by arm")
    return [
        tabulate(total, together, columns[1:], note=note),
        Fold("Stop rules in each arm", [tabulate(by_arm, each, columns)]),
    ]


def _quartiles(low: float | None, median: float | None, high: float | None) -> str:
    return DASH if median is None else f"{one(low)}, {one(median)}, {one(high)}"


def _phrases(found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} by \N{LEFT DOUBLE QUOTATION MARK}{phrase}\N{RIGHT DOUBLE QUOTATION MARK}"
        for phrase, count in found.items()
    )
