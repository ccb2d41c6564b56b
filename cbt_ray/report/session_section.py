"""Section "Sessions": the flow, flags and how far they can be trusted, and what other stop rules
would have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.flow import Flagged, Flow
from cbt_ray.report.at import At
from cbt_ray.report.figure import Figure
from cbt_ray.report.part import Fold, Part, Section
from cbt_ray.report.prose import DASH, capital, one, reasons, text, two, whole, words
from cbt_ray.report.svg import drawing, grid, line, path, tag, wrapped
from cbt_ray.report.svg import text as label
from cbt_ray.report.table import Column, Table, column, tabulate
from cbt_ray.therapy.replay import ReplayedRule
from cbt_ray.therapy.validation import Detector, FiredRule

BOX = 96
SIDE = 108
WIDTH = 242
LINE = 13
LOST = {
    "not_reached": "Not reached: the chain ended before.",
    "rejected": "Rejected: the session failed.",
    "owed": "Owed: not run yet.",
}
STEPS = ("scheduled", "reached", "held", "rated")


def sessions(analysis: Analysis) -> Section:
    """The section."""
    everything = At(analysis)
    detectors = everything.each(lambda found: found.detectors or ())
    rules = everything.each(lambda found: found.stop_rules or ())
    parts: list[Part] = [
        _flow_figure(analysis.flow),
        _flow(analysis),
        _flag_figure(analysis.flags),
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
    title, names = "Rules of the flags", [name for name, _ in found]
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


def _flow_figure(table: Sequence[Flow]) -> Figure:
    """Scheduled -> reached -> held -> rated, a column per arm, as CONSORT counts participants."""
    title = "Flow of the scheduled sessions"
    reasons = {reason.partition(":")[0] for row in table for reason in row.unrated}
    lost = " to the right of each arrow what was lost there, and why." if reasons else ""
    caption = " ".join(
        [
            f"A column per arm{';' if lost else '.'}{lost}",
            *(said for reason, said in LOST.items() if reason in reasons),
        ]
    )
    empty = "" if table else "Not drawn: no session is scheduled."
    most = [max((len(_lines(row, step)) for row in table), default=0) for step in STEPS[1:]]
    panels = [_arm_column(row, most) for row in table]
    return Figure("flow", title, caption, panels, empty=empty, scored=False)


def _arm_column(row: Flow, most: Sequence[int]) -> Markup:
    """One arm.

    Every column leaves room for the longest list of reasons, so that steps stand side by side.
    """
    parts = [label(2, 14, row.arm, "start", "strong")]
    counts = (row.scheduled, row.reached, row.held, row.rated)
    y = 24.0
    for index, (step, count) in enumerate(zip(STEPS, counts, strict=True)):
        if index:
            height = max(26.0, 16.0 + LINE * most[index - 1])
            parts.append(_arrow(1 + BOX / 2, y, 1 + BOX / 2, y + height))
            lost = _lines(row, step)
            parts += _loss(lost, y + height / 2) if lost else []
            y += height
        parts.append(tag("rect", class_="box", x=1, y=y, width=BOX, height=38, rx=3))
        parts.append(label(1 + BOX / 2, y + 17, str(count), "middle", "strong"))
        parts.append(label(1 + BOX / 2, y + 31, step, "middle", "tick"))
        y += 38
    return drawing(WIDTH, y + 4, f"Flow of sessions in arm {row.arm}", *parts)


def _loss(lost: Sequence[str], middle: float) -> list[Markup]:
    top = middle - LINE * len(lost) / 2 - 3
    box = tag(
        "rect",
        class_="box lost",
        x=SIDE,
        y=top,
        width=float(WIDTH - SIDE - 2),
        height=LINE * len(lost) + 7.0,
        rx=3,
    )
    arrow = _arrow(1 + BOX / 2, middle, SIDE, middle)
    return [
        arrow,
        box,
        *(label(SIDE + 7, top + 13 + LINE * i, one, "start", "tick") for i, one in enumerate(lost)),
    ]


def _arrow(x1: float, y1: float, x2: float, y2: float) -> Markup:
    head = (
        [(x2 - 4, y2 - 5), (x2, y2), (x2 + 4, y2 - 5)]
        if x1 == x2
        else [(x2 - 5, y2 - 4), (x2, y2), (x2 - 5, y2 + 4)]
    )
    return tag("g", line(x1, y1, x2, y2, "base"), path(head, "base"))


def _lines(row: Flow, step: str) -> list[str]:
    """What was lost before a step, a line or two a reason."""
    lost = [
        (reason, count)
        for reason, count in row.unrated.items()
        if _lost_before(reason, row) == step
    ]
    return [part for reason, count in lost for part in wrapped(f"{count} {words(reason)}", 21)]


def _lost_before(reason: str, row: Flow) -> str:
    """The step that a session with this reason did not come to.

    What is owed may be the rating of a session that was held.
    """
    if reason == "owed" and row.held == row.scheduled:
        return "rated"
    if reason in ("not_reached", "owed"):
        return "reached"
    return "held" if reason.startswith("rejected") else "rated"


def _flag_figure(table: Sequence[Flagged]) -> Figure:
    """How many of the held sessions carry each flag."""
    title = "Flagged sessions"
    caption = (
        "Held sessions of each arm that carry a flag. Flags are outcomes of the treatment: "
        "they exclude no session."
    )
    names = sorted({name for row in table for name in row.flags})
    if not names:
        return Figure("flags", title, caption, empty="No flag is recorded.", scored=False)
    cells = {}
    for place, row in enumerate(table):
        for index, count in enumerate([*(row.flags[name] for name in names), row.any]):
            share = count / row.held if row.held else 0.0
            cells[index, place] = (share, f"{count}/{row.held}")
    labels = [*map(words, names), "any flag"]
    drawn = grid(title, labels, [row.arm for row in table], cells)
    return Figure("flags", title, caption, [drawn], scored=False)
