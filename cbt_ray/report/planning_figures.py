"""The next study: the smallest difference that it could find, over its patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report.figure import Figure, Look
from cbt_ray.report.prose import one
from cbt_ray.report.svg import Scale, axis_y, drawing, marker, nice, path, text
from cbt_ray.report.table import pick

WIDTH = 560


def power(analysis: Analysis) -> Figure:
    """The smallest difference that the next study could find, over its patients, at equal cost."""
    title = "What the next study could find"
    level = pick(analysis, "/power/level")
    caption = (
        f"Smallest true difference found with a power of 80 % at {level:.0%}, Holm's first step; "
        "each line is a budget of "
        "sessions an arm, spread over more patients to the right."
        if level
        else ""
    )
    rows = [row for row in pick(analysis, "/power/next") if row.get("own_80") is not None]
    if not rows:
        reason = pick(analysis, "/power/reason")
        return Figure("power", title, caption, empty=f"Not drawn: {reason}.", scored=False)
    budgets = {row["cost"]: row["patients"] * row["sessions"] for row in rows}
    legend = [Look(f"{budget} sessions an arm", n, n) for n, budget in enumerate(budgets.values())]
    shown, design = _shown(rows), pick(analysis, "/power/design")
    if any(_own(row, design) for row in shown):
        caption += " The hollow point is this study's own design."
    return Figure("power", title, caption, [_power(shown, design)], legend, scored=False)


def _shown(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without those far off: two patients need differences that no scale has."""
    lows = sorted(row["own_80"] for row in rows)
    roof = min(lows[-1], 4 * lows[len(lows) // 2])
    return [row for row in rows if row["own_80"] <= roof]


def _own(row: Mapping[str, Any], design: Mapping[str, Any]) -> bool:
    return (row["cost"], row["patients"], row["sessions"]) == (
        1,
        design["patients"],
        design["sessions"],
    )


def _power(shown: Sequence[Mapping[str, Any]], design: Mapping[str, Any]) -> Markup:
    y_ticks = nice(0, max(row["own_80"] for row in shown), 5)
    most = max(row["patients"] for row in shown)
    x = Scale(math.log(min(row["patients"] for row in shown)), math.log(most), 48, WIDTH - 20)
    y = Scale(y_ticks[0], y_ticks[-1], 220, 40)
    known = sorted({row["patients"] for row in shown})
    labels = _apart([(x(math.log(n)), n) for n in known])
    parts = [axis_y(y, y_ticks, 42, WIDTH - 14, "smallest difference, points")]
    parts += [text(at, 236, str(n), "middle", "tick") for at, n in labels]
    parts.append(text((48 + WIDTH - 20) / 2, 254, "patients", "middle", "axis"))
    for index, cost in enumerate(sorted({row["cost"] for row in shown})):
        own = [row for row in shown if row["cost"] == cost]
        places = [(x(math.log(row["patients"])), y(row["own_80"])) for row in own]
        hints = [
            f"{row['patients']} patients x {row['sessions']} sessions: {one(row['own_80'])} points"
            for row in own
        ]
        parts.append(path(places, f"line s{index}") if len(places) > 1 else Markup(""))
        for (a, b), row, hint in zip(places, own, hints, strict=True):
            here = _own(row, design)
            parts.append(
                marker(
                    a,
                    b,
                    index,
                    f"dot s{index}" + (" hollow" if here else ""),
                    4 if here else 3,
                    hint,
                )
            )
    return drawing(WIDTH, 264, "Smallest difference over patients", *parts, class_="fluid")


def _apart(places: Sequence[tuple[float, int]], least: float = 24) -> list[tuple[float, int]]:
    """Labels that do not touch."""
    kept: list[tuple[float, int]] = []
    for at, label in places:
        if not kept or at - kept[-1][0] >= least:
            kept.append((at, label))
    return kept
