"""Items: heat maps of means and of effects, a radar per model, and how crowded the ends of the
scale are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import sides
from cbt_ray.report.figure import NOTHING, Figure, Look, asked, looks, rated, titles, together
from cbt_ray.report.prose import one, signed
from cbt_ray.report.svg import drawing, line, marker, path, tag, text, wrapped

NO_ITEMS = "Not drawn: the headline is made of no items."
DISCOVERED = 0.05
"""q below which an item's contrast is marked."""


def grid(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[float, str]],
) -> Markup:
    """A table of shaded cells.

    A cell is (share of the darkest shade, text), so that no number hangs on a colour.

    A share below zero takes the second colour.
    """
    wide = 72 if len(columns) < 4 else 56 if len(columns) < 8 else 42
    left = 14 + min(168.0, 6.2 * max(len(part) for name in rows for part in wrapped(name, 30)))
    top = 14 + max(len(name) for name in columns) * 4.3
    parts = []
    for column, name in enumerate(columns):
        x = left + wide * (column + 0.5)
        parts.append(
            tag(
                "text",
                name,
                transform=f"translate({x:.1f} {top - 6:.1f}) rotate(-40)",
                class_="tick",
            )
        )
    for row, name in enumerate(rows):
        y = top + 26 * row
        parts.append(_row_label(name, left - 8, y + 13))
        for column in range(len(columns)):
            shade, content = cells.get((row, column), (0.0, "\N{EN DASH}"))
            place = {
                "x": left + wide * column + 1.0,
                "y": y + 1.0,
                "width": wide - 2.0,
                "height": 24.0,
            }
            hue = "heat" if shade >= 0 else "heat below"
            parts.append(tag("rect", class_=hue, fill_opacity=0.04 + 0.46 * abs(shade), **place))
            parts.append(text(left + wide * (column + 0.5), y + 17, content, "middle", "num"))
    slant = max(len(name) for name in columns) * 4.6
    return drawing(
        left + wide * (len(columns) - 0.5) + max(wide * 0.5, slant),
        top + 26 * len(rows) + 4,
        title,
        *parts,
    )


def _row_label(name: str, right: float, middle: float) -> Markup:
    lines = wrapped(name, 30)
    first = middle + 4 - 6 * (len(lines) - 1)
    return tag(
        "g", *(text(right, first + 12 * i, part, "end", "tick") for i, part in enumerate(lines))
    )


def heat_map(analysis: Analysis) -> Figure:
    """Mean of every item in every arm."""
    title = "Mean of each item in each arm"
    settings = analysis["settings"]
    caption = f"Shaded from {settings['lowest']} (palest) to {settings['highest']} (darkest)."
    if not rated(analysis) or not analysis["items"]:
        return Figure("heat-map", title, caption, empty=NO_ITEMS if rated(analysis) else NOTHING)
    names, span = titles(analysis), settings["highest"] - settings["lowest"]
    cells = {
        (row, column): ((mean - settings["lowest"]) / span, one(mean))
        for column, arm in enumerate(analysis["scores"])
        for row, item in enumerate(names)
        if (mean := (arm["items"].get(item) or {}).get("mean")) is not None
    }
    columns = [arm["arm"] for arm in analysis["scores"]]
    return Figure("heat-map", title, caption, [grid(title, list(names.values()), columns, cells)])


def effect_map(analysis: Analysis) -> Figure:
    """The primary contrasts of every item, marked where they hold up against the false discovery
    rate.
    """
    rows, first = analysis["contrasts"]["items"]["rows"], asked(analysis)
    plus, minus = sides(first[0]) if len(first) == 1 else ("first side", "second side")
    of = f" {plus} \N{MINUS SIGN} {minus}" if len(first) == 1 else ""
    title = f"Difference{of} of each item"
    caption = (
        f"Points of one item; blue: {plus} higher, orange: {minus} higher, the darker the larger. "
        "Exploratory."
    )
    known = [row for row in rows if row["estimate"] is not None]
    if any(row["q"] is not None and row["q"] < DISCOVERED for row in known):
        caption += (
            f" An asterisk: false discovery rate q below {DISCOVERED}, over all items and "
            "contrasts."
        )
    if not known:
        return Figure(
            "effect-map",
            title,
            caption,
            empty=NOTHING if not rated(analysis) else "Not drawn: no item has a contrast.",
        )
    names, labels = titles(analysis), list(dict.fromkeys(row["label"] for row in rows))
    widest = max(abs(row["estimate"]) for row in known) or 1.0
    order = list(names)
    cells = {
        (order.index(row["item"]), labels.index(row["label"])): (
            row["estimate"] / widest,
            signed(row["estimate"])
            + ("*" if row["q"] is not None and row["q"] < DISCOVERED else ""),
        )
        for row in known
    }
    return Figure("effect-map", title, caption, [grid(title, list(names.values()), labels, cells)])


def radar(analysis: Analysis) -> Figure:
    """Item means, a panel for arms that share their other levels."""
    title = "Profile of item means"
    settings = analysis["settings"]
    caption = f"Centre: {settings['lowest']}; outer ring: {settings['highest']}."
    if any(not row["rated"] for row in analysis["scores"]):
        caption += " An arm without a rated session has no outline."
    if not rated(analysis) or len(analysis["items"]) < 3:
        return Figure(
            "radar",
            title,
            caption,
            empty=NOTHING if not rated(analysis) else "Not drawn: fewer than three items.",
        )
    scores, look = {row["arm"]: row["items"] for row in analysis["scores"]}, looks(analysis)
    panels = []
    for shared, arms in together(analysis).items():
        outlines = [_outline(scores[arm], analysis, look[arm]) for arm in arms]
        panels.append(drawing(340, 300, f"{title}: {shared}", _web(analysis, shared), *outlines))
    return Figure("radar", title, caption, panels, tuple(look.values()))


def _point(index: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * index / count
    return 170 + 92 * share * math.sin(angle), 158 - 92 * share * math.cos(angle)


def _web(analysis: Analysis, heading: str) -> Markup:
    names = list(titles(analysis).values())
    count = len(names)
    parts = [
        path([_point(i, count, share) for i in range(count)], "grid", closed=True)
        for share in (1 / 3, 2 / 3, 1)
    ]
    for index, name in enumerate(names):
        x, y = _point(index, count, 1.0)
        parts.append(line(170, 158, x, y, "grid"))
        x, y = _point(index, count, 1.12)
        anchor = "middle" if abs(x - 170) < 12 else ("start" if x > 170 else "end")
        lines = wrapped(name, 16, 3)
        top = y + 3 - (10 * (len(lines) - 1) if y < 158 else 0)
        parts += [text(x, top + 10 * i, part, anchor, "small") for i, part in enumerate(lines)]
    return tag("g", *parts, text(4, 14, heading, "start", "strong"))


def _outline(items: Mapping[str, Mapping[str, Any]], analysis: Analysis, look: Look) -> Markup:
    settings = analysis["settings"]
    means = [(items.get(item["item"]) or {}).get("mean") for item in analysis["items"]]
    if any(mean is None for mean in means):
        return Markup("")
    span = settings["highest"] - settings["lowest"]
    points = [
        _point(i, len(means), (mean - settings["lowest"]) / span) for i, mean in enumerate(means)
    ]
    dots = [marker(x, y, look.shape, f"dot {look.class_}", 2.6) for x, y in points]
    return tag("g", path(points, f"line area {look.class_}", closed=True), *dots)
