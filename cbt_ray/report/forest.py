"""The forest plot: each primary contrast with its interval, and what other ways to count sessions
would make of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import sides
from cbt_ray.analysis.effect.contrast import Difference
from cbt_ray.analysis.effect.policy import Policies, PolicyEffect
from cbt_ray.report.answer import total_range, unit
from cbt_ray.report.figure import NOTHING, Figure, asked, decimals
from cbt_ray.report.prose import capital, interval, signed, whole
from cbt_ray.report.svg import (
    Scale,
    axis_x,
    drawing,
    line,
    marker,
    nice,
    path,
    tag,
    text,
    wrapped,
)

Kind = Literal["headline", "policy", "bounds"]
MARKS: dict[Kind, tuple[int, float, str]] = {
    "headline": (1, 4.5, "whisker"),
    "policy": (0, 3.4, "whisker thin"),
}
"""Shape and size of a point, and the line of its interval; bounds have neither."""


@dataclass(frozen=True)
class PlotRow:
    """One line of the plot."""

    kind: Kind
    label: str
    told: str
    """The numbers, in words."""
    estimate: float | None
    low: float | None
    high: float | None
    patients: str = ""
    sessions: str = ""
    """How many were rated, on either side."""


@dataclass(frozen=True)
class PlotLayout:
    """Where a line's parts stand."""

    class_: str
    width: int
    characters: int
    """Of a line of a label."""
    plot: tuple[int, int]
    """Left and right end of the axis."""
    patients: int
    """Where the column of counts ends; 0: there is none."""
    sessions: int
    heights: dict[Kind, int]
    foot: int
    """How far above its lower edge a row's label stands."""
    drop: int
    """How far the interval stands below its label."""


WIDE = PlotLayout(
    *("wide", 768, 26, (176, 468), 528, 604),
    heights={"headline": 38, "policy": 26, "bounds": 26},
    foot=13,
    drop=0,
)
"""Labels left of the plot, counts and numbers right of it."""
SLIM = PlotLayout(
    *("slim", 340, 34, (8, 332), 0, 0),
    heights={"headline": 52, "policy": 42, "bounds": 42},
    foot=28,
    drop=18,
)
"""Labels and numbers above each interval, for a narrow screen."""


def forest(analysis: Analysis) -> Figure:
    """Each primary contrast with its interval, then the other answers where they differ."""
    family, first = analysis.contrasts.primary, asked(analysis)
    title = "Primary contrasts"
    if len(first) == 1:
        title = "Difference " + " \N{MINUS SIGN} ".join(sides(first[0]))
    rows = [row for index in range(len(family.rows)) for row in _rows(index, analysis)]
    caption = _caption(rows, capital(unit(analysis)), analysis.settings.level)
    if not any(row.estimate is not None for row in rows):
        empty = f"Not drawn: {family.reason}." if family.reason else NOTHING
        return Figure("forest", title, caption, empty=empty)
    drawn = [_draw(rows, title, analysis, layout) for layout in (WIDE, SLIM)]
    return Figure("forest", title, caption, drawn)


def _caption(rows: Sequence[PlotRow], of: str, level: float) -> str:
    """What the marks mean, of those that are there."""
    known = {row.kind for row in rows}
    said = [f"{of}, on means of chains; squares with {level:.0%} intervals."]
    if "policy" in known:
        said.append("Circles: other ways to count sessions, where they differ.")
    if "bounds" in known:
        said.append(
            "Open bars: bounds on the difference, not intervals; the table of policies says what "
            "they allow for."
        )
    hollow = {row.kind for row in rows if row.estimate is not None and row.low is None}
    if hollow:
        named = ["primary contrasts"] * ("headline" in hollow) + ["policies"] * ("policy" in hollow)
        said.append(
            f"A hollow point has no interval; the table of {' and that of '.join(named)} says why."
        )
    return " ".join(said)


def _rows(index: int, analysis: Analysis) -> list[PlotRow]:
    """A contrast, then its other answers."""
    main, policies = analysis.contrasts.primary.rows[index], analysis.policies
    digits = decimals(analysis)
    found = [_estimated("headline", main.label, main, digits)]
    for label, other in _others(policies, index):
        if _differs(other.estimate, main.estimate):
            found.append(_estimated("policy", label, other, digits))
    bounds = {"bounds: any score": policies.bounds, "bounds after Lee": policies.lee}
    for label, rows in bounds.items():
        ends = rows[index]
        if ends.low is not None and _differs(ends.low, ends.high):
            told = f"{signed(ends.low, digits)} to {signed(ends.high, digits)}"
            found.append(PlotRow("bounds", label, told, None, ends.low, ends.high))
    return found


def _others(policies: Policies, index: int) -> Iterator[tuple[str, PolicyEffect]]:
    """The same contrast under the policies that are not the headline's."""
    if policies.headline != "missing":
        yield "unrated left out", policies.missing[index]
    if policies.headline != "lowest":
        yield "unrated at the lowest", policies.lowest[index]
    yield "flagged left out", policies.unflagged[index]
    yield "silent therapists left out", policies.heard[index]


def _estimated(kind: Kind, label: str, row: Difference, digits: int) -> PlotRow:
    sessions = ", ".join(map(whole, row.sessions))
    told = interval(row.estimate, row.low, row.high, digits)
    ends = (row.estimate, row.low, row.high)
    return PlotRow(kind, label, told, *ends, whole(row.patients), sessions)


def _differs(first: float | None, second: float | None) -> bool:
    return first is not None and (second is None or abs(first - second) > 1e-9)


# ---- drawn ---------------------------------------------------------------------------------------


def _ticks(rows: Sequence[PlotRow], analysis: Analysis, layout: PlotLayout) -> list[float]:
    """Cover every number and zero, but no more than the scale itself can give.

    What is longer gets an arrow.
    """
    lowest, highest = total_range(analysis)
    widest = highest - lowest or 1.0
    values = [
        value for row in rows for value in (row.low, row.high, row.estimate) if value is not None
    ]
    low, high = max(-widest, min(0.0, *values)), min(widest, max(0.0, *values))
    margin = 0.04 * (high - low)  # keeps zero off the edge
    return nice(low - margin, high + margin, 6 if layout is WIDE else 5)


def _draw(rows: Sequence[PlotRow], title: str, analysis: Analysis, layout: PlotLayout) -> Markup:
    ticks = _ticks(rows, analysis, layout)
    scale = Scale(ticks[0], ticks[-1], *layout.plot)
    top = 26 if layout.patients else 6
    bottom = top + sum(layout.heights[row.kind] for row in rows)
    parts = [
        axis_x(scale, ticks, bottom, top, f"difference in {unit(analysis)}"),
        line(scale(0), top, scale(0), bottom, "zero"),
        *_heads(layout, analysis.settings.level),
        *_directions(layout, bottom + 46, analysis),
    ]
    y = float(top)
    for row in rows:
        parts.append(_line(row, scale, y, layout))
        y += layout.heights[row.kind]
    return drawing(layout.width, bottom + 54, title, *parts, class_=layout.class_)


def _heads(layout: PlotLayout, level: float) -> list[Markup]:
    """Titles of the columns, where there are columns."""
    if not layout.patients:
        return []
    return [
        text(layout.patients, 12, "patients", "end", "axis"),
        text(layout.sessions, 12, "sessions", "end", "axis"),
        text(layout.width, 12, f"difference [{level:.0%} interval]", "end", "axis"),
    ]


def _directions(layout: PlotLayout, y: float, analysis: Analysis) -> list[Markup]:
    """Which side is higher at which end."""
    first = asked(analysis)
    plus, minus = sides(first[0]) if len(first) == 1 else ("first side", "second side")
    left, right = f"\N{LEFTWARDS ARROW} {minus} higher", f"{plus} higher \N{RIGHTWARDS ARROW}"
    start, end = layout.plot
    return [text(start, y, left, "start", "tick"), text(end, y, right, "end", "tick")]


def _line(row: PlotRow, scale: Scale, y: float, layout: PlotLayout) -> Markup:
    """A row from its upper edge on."""
    middle = y + layout.heights[row.kind] - layout.foot
    style = "strong halo" if row.kind == "headline" else "halo"
    parts = [*_label(row, middle, layout), text(layout.width, middle + 4, row.told, "end", style)]
    for x, said in ((layout.patients, row.patients), (layout.sessions, row.sessions)):
        if x:
            parts.append(text(x, middle + 4, said, "end", "tick"))
    return tag("g", *parts, *_marks(row, scale, middle + layout.drop))


def _label(row: PlotRow, middle: float, layout: PlotLayout) -> list[Markup]:
    """In as many lines as it takes; those of other answers begin further in."""
    first = row.kind == "headline"
    x, style, step = (0, "strong halo", 14) if first else (12, "tick halo", 12)
    lines = wrapped(row.label, layout.characters - 3 * first)
    top = middle + 4 - step / 2 * (len(lines) - 1)
    return [text(x, top + step * n, said, "start", style) for n, said in enumerate(lines)]


def _marks(row: PlotRow, scale: Scale, y: float) -> list[Markup]:
    """A point and its interval; an open bar for bounds."""
    low, high = row.low, row.high
    if row.kind == "bounds":
        return [] if low is None or high is None else bar(scale, low, high, y)
    shape, size, style = MARKS[row.kind]
    parts = [] if low is None or high is None else whisker(scale, low, high, y, style)
    if row.estimate is not None and scale.low <= row.estimate <= scale.high:
        dot = "dot s0" if low is not None else "dot s0 hollow"
        parts.append(marker(scale(row.estimate), y, shape, dot, size))
    return parts


def whisker(
    scale: Scale, low: float, high: float, y: float, class_: str, cap: float = 5
) -> list[Markup]:
    """An interval with caps at its ends; an end beyond the scale is an arrow."""
    left, right = scale(max(low, scale.low)), scale(min(high, scale.high))
    parts = [line(left, y, right, y, class_)]
    for end, beyond, sign in ((left, low < scale.low, -1), (right, high > scale.high, 1)):
        arrow = [(end - 6 * sign, y - 5), (end, y), (end - 6 * sign, y + 5)]
        parts.append(path(arrow, class_) if beyond else line(end, y - cap, end, y + cap, class_))
    return parts


def bar(scale: Scale, low: float, high: float, y: float) -> list[Markup]:
    """Bounds; an end beyond the scale is an arrow."""
    left, right = scale(max(low, scale.low)), scale(min(high, scale.high))
    size = {"x": left, "y": y - 4, "width": max(right - left, 2.0), "height": 8}
    arrows = whisker(scale, low, high, y, "whisker thin", cap=0)
    return [*arrows, tag("rect", class_="bounds", **size)]
