"""The forest plot: the answer to the study's question, with what other policies for unrated sessions would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cbt_ray.report.figure import NOTHING, Figure
from cbt_ray.report.prose import interval, signed
from cbt_ray.report.svg import Scale, axis_x, drawing, line, marker, nice, path, tag, text

WIDTH = 540
POLICIES = {"missing": "unrated sessions left out", "lowest": "unrated sessions as the lowest score"}


@dataclass(frozen=True)
class Row:
    """One line of the plot."""

    label: str
    note: str
    estimate: float | None
    low: float | None
    high: float | None
    main: bool


def forest(analysis: Mapping[str, Any]) -> Figure:
    """Per model the contrast with its interval, then the other answers where they differ."""
    settings, contrasts = analysis["settings"], analysis["contrasts"]
    title = f"Difference {settings['treatment']} \N{MINUS SIGN} {settings['control']} per model"
    caption = (
        f"Points of the total, on means of chains, with {settings['level']:.0%} intervals. A hollow point has no interval; the "
        "table of effects says why. Bounds are the worst and the best that any scores of the unrated sessions could make of it."
    )
    rows = [row for contrast in contrasts["rows"] for row in _rows(contrast, analysis)]
    if not any(row.estimate is not None for row in rows):
        return Figure("forest", title, caption, empty=contrasts["reason"] or NOTHING)
    return Figure("forest", title, caption, [_draw(rows, title, analysis)])


def _rows(contrast: Mapping[str, Any], analysis: Mapping[str, Any]) -> list[Row]:
    model, estimate = contrast["model"], contrast["estimate"]
    found = [Row(model, interval(contrast), estimate, contrast["low"], contrast["high"], main=True)]
    for policy, label in POLICIES.items():
        other = next(row for row in analysis["policies"][policy] if row["model"] == model)
        if policy != analysis["policies"]["headline"] and _differs(other["estimate"], estimate):
            found.append(Row(label, interval(other), other["estimate"], other["low"], other["high"], main=False))
    bounds = next(row for row in analysis["policies"]["bounds"] if row["model"] == model)
    if bounds["low"] is not None and _differs(bounds["low"], bounds["high"]):
        note = f"{signed(bounds['low'])} to {signed(bounds['high'])}"
        found.append(Row("bounds", note, None, bounds["low"], bounds["high"], main=False))
    return found


def _differs(one: float | None, other: float | None) -> bool:
    return one is not None and (other is None or abs(one - other) > 1e-9)


def _scale(rows: Sequence[Row], analysis: Mapping[str, Any]) -> tuple[Scale, list[float]]:
    """Covers every number and zero, but no more than the scale itself can give; what is longer gets an arrow."""
    settings = analysis["settings"]
    widest = max(1, len(analysis["items"])) * (settings["highest"] - settings["lowest"])
    values = [value for row in rows for value in (row.low, row.high, row.estimate) if value is not None]
    low, high = max(-widest, min(0.0, *values)), min(widest, max(0.0, *values))
    margin = 0.04 * (high - low)  # keeps zero off the edge, where the labels stand
    ticks = nice(low - margin, high + margin, 6)
    return Scale(ticks[0], ticks[-1], 14, WIDTH - 14), ticks


def _draw(rows: Sequence[Row], title: str, analysis: Mapping[str, Any]) -> Markup:
    scale, ticks = _scale(rows, analysis)
    bottom = 8 + sum(50 if row.main else 42 for row in rows)
    parts = [axis_x(scale, ticks, bottom, 4, "points of the total"), line(scale(0), 4, scale(0), bottom, "zero")]
    y = 8.0
    for row in rows:
        parts.append(_line(row, scale, y + 16))
        y += 50 if row.main else 42
    settings = analysis["settings"]
    parts.append(text(14, bottom + 30, f"\N{LEFTWARDS ARROW} {settings['control']} higher", "start", "tick"))
    parts.append(text(WIDTH - 14, bottom + 30, f"{settings['treatment']} higher \N{RIGHTWARDS ARROW}", "end", "tick"))
    return drawing(WIDTH, bottom + 40, title, *parts, class_="fluid")


def _line(row: Row, scale: Scale, y: float) -> Markup:
    """Label and numbers above, the interval below: fits a narrow screen."""
    parts = [
        text(14, y, row.label, "start", "strong halo" if row.main else "halo"),
        text(WIDTH - 14, y, row.note, "end", "num halo"),
    ]
    below = y + 15
    if row.low is not None and row.high is not None:
        parts += _whisker(scale, row.low, row.high, below, "whisker" if row.main else "whisker thin")
    if row.estimate is not None and scale.low <= row.estimate <= scale.high:
        style = "dot s0" if row.low is not None else "dot s0 hollow"
        parts.append(marker(scale(row.estimate), below, 1, style, 4.5 if row.main else 3.2))
    return tag("g", *parts)


def _whisker(scale: Scale, low: float, high: float, y: float, class_: str) -> list[Markup]:
    left, right = scale(max(low, scale.low)), scale(min(high, scale.high))
    parts = [line(left, y, right, y, class_)]
    for end, value, limit, sign in ((left, low, scale.low, -1), (right, high, scale.high, 1)):
        beyond = value < limit if sign < 0 else value > limit
        arrow = [(end - 6 * sign, y - 5), (end, y), (end - 6 * sign, y + 5)]
        parts.append(path(arrow, class_) if beyond else line(end, y - 5, end, y + 5, class_))
    return parts
