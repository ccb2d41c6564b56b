"""The judge: what probes do to its scores, how it differs from people, and how crowded the ends of
its scale are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report.figure import NOTHING, Figure, titles
from cbt_ray.report.prose import capital, one, percent, words
from cbt_ray.report.svg import (
    Scale,
    axis_x,
    axis_y,
    cloud,
    drawing,
    grid,
    line,
    marker,
    nice,
    tag,
    text,
)
from cbt_ray.report.table import pick

WIDTH = 560
CROWDED = 0.5


def probes(analysis: Analysis) -> Figure:
    """What spoiling a session does to its total: mean as rated, mean as probed."""
    title = "What each probe does to the mean total"
    caption = (
        "Hollow: the probed sessions as they were rated; filled: the same sessions as the probe "
        "showed them. A judge that reads "
        "must let the spoilt ones fall, and must not move with style. Numbers and thresholds stand "
        "in the table of probes."
    )
    found = pick(analysis.get("robustness"), "/probes") or {}
    rows = {name: row for name, row in found.items() if row["details"].get("rated") is not None}
    if not rows:
        return Figure(
            "probes", title, caption, empty="Not drawn: no probe of the judge was answered."
        )
    values = [row["details"][end] for row in rows.values() for end in ("rated", "probed")]
    ticks = nice(min(values), max(values), 6)
    scale = Scale(ticks[0], ticks[-1], 14, WIDTH - 14)
    bottom = 8 + 44 * len(rows)
    lines = [_dumbbell(row, scale, 24 + 44 * index) for index, row in enumerate(rows.values())]
    axis = axis_x(scale, ticks, bottom, 4, "mean total")
    return Figure(
        "probes", title, caption, [drawing(WIDTH, bottom + 40, title, axis, *lines, class_="fluid")]
    )


def _dumbbell(row: Mapping[str, Any], scale: Scale, y: float) -> Markup:
    before, after = row["details"]["rated"], row["details"]["probed"]
    note = f"{one(before)} \N{RIGHTWARDS ARROW} {one(after)}, {words(row['verdict'])}"
    parts = [
        text(14, y, capital(row["title"]), "start", "halo"),
        text(WIDTH - 14, y, note, "end", "num halo"),
    ]
    parts.append(line(scale(before), y + 13, scale(after), y + 13, "whisker"))
    parts.append(marker(scale(before), y + 13, 0, "dot s0 hollow", 4))
    parts.append(
        marker(scale(after), y + 13, 1, "dot s1" if row["verdict"] == "failed" else "dot s0", 4)
    )
    return tag("g", *parts)


def bias(analysis: Analysis) -> Figure:
    """The judge's total minus a person's, over the mean of both, as Bland and Altman draw it."""
    title = "Bias of the judge against people"
    caption = (
        "The judge's total minus a person's, over the mean of both; one point a session. Solid: "
        "the mean; dashed: limits of "
        "agreement."
    )
    rows = [row for row in pick(analysis, "/reliability/humans/raters") if row.get("points")]
    if not rows:
        reason = pick(analysis, "/reliability/humans/reason")
        return Figure("bias", title, caption, empty=f"Not drawn: {reason}.")
    return Figure("bias", title, caption, [_bias(row) for row in rows])


def _bias(row: Mapping[str, Any]) -> Markup:
    ends = [pick(row, f"/limits/{end}/value") for end in ("lower", "upper")]
    known = [end for end in ends if end is not None]
    heights = [point[1] for point in row["points"]] + [0.0, *known]
    x_ticks = nice(min(p[0] for p in row["points"]), max(p[0] for p in row["points"]), 5)
    y_ticks = nice(min(heights), max(heights), 5)
    x, y = Scale(x_ticks[0], x_ticks[-1], 44, 328), Scale(y_ticks[0], y_ticks[-1], 222, 34)
    parts = [
        axis_x(x, x_ticks, 222, 28, "mean of both totals"),
        axis_y(y, y_ticks, 40, 328, f"judge \N{MINUS SIGN} {row['rater']}"),
    ]
    parts.append(line(44, y(0), 328, y(0), "base"))
    parts.append(cloud([(x(a), y(b)) for a, b in row["points"]], "cloud s0"))
    if pick(row, "/bias/value") is not None:
        parts.append(line(44, y(row["bias"]["value"]), 328, y(row["bias"]["value"]), "whisker"))
    parts += [line(44, y(end), 328, y(end), "zero") for end in known]
    return drawing(340, 262, f"Bias of the judge against {row['rater']}", *parts)


def ends(analysis: Analysis) -> Figure:
    """Share of ratings at the lowest and the highest score that the judge ever used."""
    title = "Share of ratings at the ends of each item"
    caption = "Ends are the lowest and the highest score that the judge gave."
    found = [row for row in pick(analysis, "/scale/ends") if row["n"]]
    if any(max(row["at_observed_min"], row["at_observed_max"]) > CROWDED for row in found):
        caption += " Above one half (marked !) an item no longer tells good from better."
    if not found:
        return Figure("ends", title, caption, empty=NOTHING)
    names = titles(analysis)
    cells: dict[tuple[int, int], tuple[float, str]] = {}
    for row, item in enumerate(found):
        for column, (share, end) in enumerate(
            (("at_observed_min", "observed_min"), ("at_observed_max", "observed_max"))
        ):
            mark = " !" if item[share] > CROWDED else ""
            cells[row, column] = (item[share], f"{percent(item[share])}{mark}")
            cells[row, column + 2] = (0.0, str(item[end]))
    columns = ["at lowest", "at highest", "lowest", "highest"]
    return Figure(
        "ends",
        title,
        caption,
        [grid(title, [names[item["item"]] for item in found], columns, cells)],
    )
