"""Section "Items": effects and means of every item, as maps and as profiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.describe import ArmScores
from cbt_ray.analysis.effect.asked import sides
from cbt_ray.analysis.effect.family import ItemEffect
from cbt_ray.report.figure import (
    NOTHING,
    Figure,
    Look,
    asked,
    decimals,
    looks,
    rated,
    sessions_an_arm,
    titles,
    together,
)
from cbt_ray.report.part import Part, Section
from cbt_ray.report.prose import one, signed
from cbt_ray.report.svg import drawing, grid, line, marker, path, tag, text, wrapped

NO_ITEMS = "Not drawn: the headline is made of no items."
DISCOVERED = 0.05
"""q below which an item's contrast is marked."""


def items(analysis: Analysis) -> Section:
    """Effects and means of every item."""
    parts: list[Part] = [
        effect_map(analysis),
        heat_map(analysis),
        radar(analysis),
    ]
    return Section("items", "Items", parts)


def heat_map(analysis: Analysis) -> Figure:
    """Mean of every item in every arm."""
    title = "Mean of each item in each arm"
    lowest, highest = analysis.settings.lowest, analysis.settings.highest
    caption = f"Shaded from {lowest} (palest) to {highest} (darkest). {sessions_an_arm(analysis)}"
    if not rated(analysis) or not analysis.items:
        return Figure("heat-map", title, caption, empty=NO_ITEMS if rated(analysis) else NOTHING)
    names = titles(analysis)
    cells = {
        (row, column): ((mean - lowest) / (highest - lowest), one(mean))
        for column, arm in enumerate(analysis.scores)
        for row, mean in enumerate(_means(arm, names))
        if mean is not None
    }
    columns = [arm.arm for arm in analysis.scores]
    return Figure("heat-map", title, caption, [grid(title, list(names.values()), columns, cells)])


def _means(arm: ArmScores, items: Iterable[str]) -> list[float | None]:
    return [arm.items[item].mean if item in arm.items else None for item in items]


def effect_map(analysis: Analysis) -> Figure:
    """The primary contrasts of every item, marked where they hold up against the false discovery
    rate.
    """
    rows, first = analysis.contrasts.items.rows, asked(analysis)
    plus, minus = sides(first[0]) if len(first) == 1 else ("first side", "second side")
    of = f" {plus} \N{MINUS SIGN} {minus}" if len(first) == 1 else ""
    title = f"Difference{of} of each item"
    caption = (
        f"Points of one item; blue: {plus} higher, orange: {minus} higher, the darker the larger. "
        f"Exploratory. {sessions_an_arm(analysis)}"
    )
    known = [(row, row.estimate) for row in rows if row.estimate is not None]
    if any(_discovered(row) for row, _ in known):
        caption += (
            f" An asterisk: false discovery rate q below {DISCOVERED}, over all items and "
            "contrasts."
        )
    if not known:
        why = NOTHING if not rated(analysis) else "Not drawn: no item has a contrast."
        return Figure("effect-map", title, caption, empty=why)
    names, labels = titles(analysis), list(dict.fromkeys(row.label for row in rows))
    widest = max(abs(estimate) for _, estimate in known) or 1.0
    order = list(names)
    cells = {
        (order.index(row.item), labels.index(row.label)): (
            estimate / widest,
            signed(estimate, decimals(analysis)) + ("*" if _discovered(row) else ""),
        )
        for row, estimate in known
    }
    return Figure("effect-map", title, caption, [grid(title, list(names.values()), labels, cells)])


def _discovered(row: ItemEffect) -> bool:
    return row.q is not None and row.q < DISCOVERED


def radar(analysis: Analysis) -> Figure:
    """Item means, a panel for arms that share their other levels."""
    title = "Profile of item means"
    ends = analysis.settings.lowest, analysis.settings.highest
    caption = f"Centre: {ends[0]}; outer ring: {ends[1]}. {sessions_an_arm(analysis)}"
    if any(not row.rated for row in analysis.scores):
        caption += " An arm without a rated session has no outline."
    if not rated(analysis) or len(analysis.items) < 3:
        why = NOTHING if not rated(analysis) else "Not drawn: fewer than three items."
        return Figure("radar", title, caption, empty=why)
    scores, look = {row.arm: row for row in analysis.scores}, looks(analysis)
    panels = []
    for shared, arms in together(analysis).items():
        outlines = [_outline(scores[arm], analysis, look[arm]) for arm in arms]
        web = _web(list(titles(analysis).values()), shared)
        panels.append(drawing(340, 300, f"{title}: {shared}", web, *outlines))
    return Figure("radar", title, caption, panels, tuple(look.values()))


def _point(index: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * index / count
    return 170 + 92 * share * math.sin(angle), 158 - 92 * share * math.cos(angle)


def _web(names: Sequence[str], heading: str) -> Markup:
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


def _outline(arm: ArmScores, analysis: Analysis, look: Look) -> Markup:
    found = _means(arm, titles(analysis))
    means = [mean for mean in found if mean is not None]
    if len(means) < len(found):
        return Markup("")
    lowest, highest = analysis.settings.lowest, analysis.settings.highest
    points = [
        _point(i, len(means), (mean - lowest) / (highest - lowest)) for i, mean in enumerate(means)
    ]
    dots = [marker(x, y, look.shape, f"dot {look.class_}", 2.6) for x, y in points]
    return tag("g", path(points, f"line area {look.class_}", closed=True), *dots)
