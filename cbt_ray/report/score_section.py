"""Section "Scores": totals per arm, their distribution, and their course over the sessions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.describe import ArmScores, CellMean, SessionMean, Summary
from cbt_ray.analysis.effect.slope import Slope
from cbt_ray.report.at import At
from cbt_ray.report.figure import (
    NOTHING,
    Figure,
    Look,
    looks,
    rated,
    repeats,
    sessions_an_arm,
    together,
)
from cbt_ray.report.part import Fold, Part, Section
from cbt_ray.report.prose import capital, interval_of, one, probability, text, two, whole
from cbt_ray.report.svg import Scale, axis_x, axis_y, drawing, line, marker, nice, path, tag
from cbt_ray.report.svg import text as label
from cbt_ray.report.table import Column, Table, column, tabulate

ROW = 66
WIDTH = 540


def scores(analysis: Analysis) -> Section:
    """Totals per arm, their distribution and their course."""
    all_sessions = At(analysis).each(lambda found: found.slopes.all)
    later = At(analysis).each(lambda found: found.slopes.without_first)
    parts: list[Part] = [
        _totals(analysis),
        distribution(analysis),
        trajectory(analysis),
        _slopes("t-slopes-all", "Slope of the total over sessions", all_sessions),
        _slopes("t-slopes-without-first", "The same without the first session", later),
        Fold("Means per arm and patient", [_cells(analysis)]),
    ]
    return Section("scores", "Scores", parts)


def _totals(analysis: Analysis) -> Table:
    columns: list[Column[ArmScores]] = [
        column("Arm", str, lambda row: row.arm),
        column("Scheduled", whole, lambda row: row.scheduled),
        column("Rated", whole, lambda row: row.rated),
        column("Mean", two, lambda row: row.total.mean),
        column("SD", two, lambda row: row.total.sd),
        column("Median", one, lambda row: row.total.median),
        column("Min", one, lambda row: row.total.min),
        column("Max", one, lambda row: row.total.max),
    ]
    return tabulate(
        ("t-scores", "Totals per arm"),
        At(analysis).each(lambda found: found.scores),
        columns,
        note=f"{'Judge replicates are averaged; ' if repeats(analysis) else ''}SD over sessions.",
        empty="No arm.",
    )


def _slopes(id_: str, title: str, rows: Sequence[At[Slope]]) -> Table:
    columns: list[Column[Slope]] = [
        column("Arm", str, lambda row: row.arm),
        column("Points per session", two, lambda row: row.slope),
        column(
            "Interval", partial(interval_of, digits=2), lambda row: row.low, lambda row: row.high
        ),
        column("SE", two, lambda row: row.se),
        column("t", two, lambda row: row.t),
        column("df", text, lambda row: row.df),
        column("p", probability, lambda row: row.p),
        column("Why there is none", capital, lambda row: row.reason, below=True),
    ]
    note = (
        "A slope per chain, averaged over patients, who are the error term. No family: descriptive."
    )
    return tabulate((id_, title), rows, columns, note=note, empty="No slope.")


def _cells(analysis: Analysis) -> Table:
    columns: list[Column[CellMean]] = [
        column("Arm", str, lambda row: row.arm),
        column("Patient", str, lambda row: row.patient),
        column("Mean", two, lambda row: row.mean),
        column("Sessions per chain", _sizes, lambda row: row.sessions),
    ]
    return tabulate(
        ("t-cells", "Means per arm and patient"),
        At(analysis).each(lambda found: found.cells),
        columns,
        note="The observations of the contrasts: means of the chains' means.",
        empty="No rated session.",
    )


def _sizes(sessions: Sequence[int]) -> str:
    return ", ".join(map(str, sessions))


def distribution(analysis: Analysis) -> Figure:
    """A histogram per arm over one common axis."""
    title = "Distribution of the totals"
    caption = "Each bar counts rated sessions; the vertical line is the arm's mean."
    if repeats(analysis):
        caption += " Judge replicates are averaged."
    if not rated(analysis):
        return Figure("distribution", title, caption, empty=NOTHING)
    found = [row for row in analysis.distribution if row.counts]
    values = [value for row in found for value, _ in row.counts]
    ticks = nice(min(values), max(values) + 1, 6, whole=True)
    width = max(1, round((ticks[-1] - ticks[0]) / 40))
    bins = {row.arm: _binned(row.counts, width) for row in found}
    tallest = max(count for counts in bins.values() for count in counts.values())
    scale = Scale(ticks[0], ticks[-1], 12, WIDTH - 12)
    totals = {row.arm: row.total for row in analysis.scores}
    look = looks(analysis)
    parts = [axis_x(scale, ticks, 8 + ROW * len(found), 4, "total of the scale")]
    for index, (arm, counts) in enumerate(bins.items()):
        parts.append(
            _histogram(
                counts, width, scale, (8 + ROW * (index + 1), tallest), look[arm], totals[arm]
            )
        )
    return Figure(
        "distribution",
        title,
        caption,
        [drawing(WIDTH, 8 + ROW * len(found) + 40, title, *parts, class_="fluid")],
    )


def _binned(counts: Sequence[tuple[int, int]], width: int) -> dict[int, int]:
    bins: dict[int, int] = {}
    for value, count in counts:
        bins[value // width * width] = bins.get(value // width * width, 0) + count
    return bins


def _histogram(
    counts: Mapping[int, int],
    width: int,
    scale: Scale,
    place: tuple[float, int],
    look: Look,
    total: Summary,
) -> Markup:
    base, tallest = place
    bars = []
    for value, count in counts.items():
        height = (ROW - 26) * count / tallest
        size = {
            "x": scale(value),
            "y": base - height,
            "width": max(1.0, scale(value + width) - scale(value) - 1),
            "height": height,
        }
        bars.append(
            tag("rect", tag("title", f"{value}: {count}"), class_=f"bar {look.class_}", **size)
        )
    told = f"n {total.n}, mean {one(total.mean)}, SD {one(total.sd)}"
    names = [
        label(12, base - ROW + 16, look.label, "start", "strong halo"),
        label(WIDTH - 12, base - ROW + 16, told, "end", "num halo"),
    ]
    middle = scale(total.mean or 0.0)
    mean = line(middle, base - ROW + 24, middle, base, "zero")
    return tag("g", *bars, mean, line(12, base, WIDTH - 12, base, "base"), *names)


def trajectory(analysis: Analysis) -> Figure:
    """Mean total by session number, a panel per model."""
    title = "Mean total by session"
    caption = f"Means over patients and chains at each session number. {sessions_an_arm(analysis)}"
    if any(len(row.points) > 1 for row in analysis.trajectory):
        caption += (
            " The first session has none before it: the table of slopes is there with and "
            "without it."
        )
    if not rated(analysis):
        return Figure("trajectory", title, caption, empty=NOTHING)
    points = {row.arm: row.points for row in analysis.trajectory}
    every = [point for row in points.values() for point in row]
    means = [point.mean for point in every if point.mean is not None]
    ticks = nice(min(means), max(means), 5)
    last = max(point.session for point in every)
    look = looks(analysis)
    panels = []
    for shared, arms in together(analysis).items():
        x, y = Scale(1, last, 44, 320), Scale(ticks[0], ticks[-1], 190, 40)
        lines = [_course(points[arm], x, y, look[arm]) for arm in arms if points.get(arm)]
        step = 1 if last < 8 else 5 * math.ceil(last / 45)  # numbers may be dates
        sessions = [float(n) for n in sorted({1, *range(step, last + 1, step)})]
        axes = (
            axis_y(y, ticks, 34, 330, f"{shared}: mean total"),
            axis_x(x, sessions, 190, 190, "session"),
        )
        first = [line(x(1.5), 34, x(1.5), 190, "first")] if last > 1 else []
        panels.append(drawing(340, 230, f"{title}: {shared}", *axes, *first, *lines))
    return Figure("trajectory", title, caption, panels, tuple(look.values()))


def _course(points: Sequence[SessionMean], x: Scale, y: Scale, look: Look) -> Markup:
    places = [(x(point.session), y(point.mean or 0.0)) for point in points]
    size = 3.5 if len(points) < 12 else 2.6
    hints = [f"{look.label}, session {p.session}: mean {one(p.mean)}, n {p.n}" for p in points]
    dots = [
        marker(a, b, look.shape, f"dot {look.class_}", size, hint)
        for (a, b), hint in zip(places, hints, strict=True)
    ]
    return tag("g", path(places, f"line {look.class_}"), *dots)
