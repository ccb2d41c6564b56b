"""Effects: the forest plot (the answer, with what other policies would say) and the means at both
sides of the contrast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import Comparison, sides
from cbt_ray.report.answer import total_range
from cbt_ray.report.figure import NOTHING, Figure, Look, asked, rated
from cbt_ray.report.prose import interval, one, signed
from cbt_ray.report.svg import Scale, axis_x, axis_y, drawing, line, marker, nice, path, tag, text
from cbt_ray.report.table import pick

WIDTH = 560
POLICIES = {
    "missing": "unrated sessions left out",
    "lowest": "unrated sessions as the lowest total",
    "unflagged": "flagged sessions left out",
    "heard": "without ratings of a silent therapist",
}
BOUNDS = {
    "bounds": "bounds: any score for the unrated",
    "lee": "bounds after Lee: sessions rated under either",
}


@dataclass(frozen=True)
class Row:
    """One line of the plot."""

    label: str
    note: str
    estimate: float | None
    low: float | None
    high: float | None
    main: bool


def forest(analysis: Analysis) -> Figure:
    """Each primary contrast with its interval, then the other answers where they differ."""
    settings, family, first = (
        analysis["settings"],
        analysis["contrasts"]["primary"],
        asked(analysis),
    )
    title = "Primary contrasts"
    if len(first) == 1:
        title = "Difference " + " \N{MINUS SIGN} ".join(sides(first[0]))
    rows = [row for index in range(len(family["rows"])) for row in _rows(index, analysis)]
    caption = f"Points of the total on means of chains, with {settings['level']:.0%} intervals."
    hollow = {row.main for row in rows if row.estimate is not None and row.low is None}
    if hollow:
        named = ["primary contrasts"] * (True in hollow) + ["policies"] * (False in hollow)
        caption += (
            f" A hollow point has no interval; the table of {' and that of '.join(named)} says why."
        )
    if not all(row.main for row in rows):
        caption += (
            " Thin lines are what other ways to count sessions would make of it, where they differ."
        )
    if not any(row.estimate is not None for row in rows):
        return Figure(
            "forest",
            title,
            caption,
            empty=f"Not drawn: {family['reason']}." if family["reason"] else NOTHING,
        )
    return Figure("forest", title, caption, [_draw(rows, title, analysis)])


def _rows(index: int, analysis: Analysis) -> list[Row]:
    main, policies = analysis["contrasts"]["primary"]["rows"][index], analysis["policies"]
    estimate = main["estimate"]
    found = [Row(main["label"], interval(main), estimate, main["low"], main["high"], main=True)]
    for policy, label in POLICIES.items():
        other = pick(policies, f"/{policy}/{index}")
        if other and policy != policies["headline"] and _differs(other["estimate"], estimate):
            found.append(
                Row(
                    label,
                    interval(other),
                    other["estimate"],
                    other["low"],
                    other["high"],
                    main=False,
                )
            )
    for policy, label in BOUNDS.items():
        bounds = pick(policies, f"/{policy}/{index}")
        if bounds and bounds["low"] is not None and _differs(bounds["low"], bounds["high"]):
            note = f"{signed(bounds['low'])} to {signed(bounds['high'])}"
            found.append(Row(label, note, None, bounds["low"], bounds["high"], main=False))
    return found


def _differs(first: float | None, second: float | None) -> bool:
    return first is not None and (second is None or abs(first - second) > 1e-9)


def _scale(rows: Sequence[Row], analysis: Analysis) -> tuple[Scale, list[float]]:
    """Covers every number and zero, but no more than the scale itself can give.

    What is longer gets an arrow.
    """
    lowest, highest = total_range(analysis)
    widest = highest - lowest or 1.0
    values = [
        value for row in rows for value in (row.low, row.high, row.estimate) if value is not None
    ]
    low, high = max(-widest, min(0.0, *values)), min(widest, max(0.0, *values))
    margin = 0.04 * (high - low)  # keeps zero off the edge, where the labels stand
    ticks = nice(low - margin, high + margin, 6)
    return Scale(ticks[0], ticks[-1], 14, WIDTH - 14), ticks


def _draw(rows: Sequence[Row], title: str, analysis: Analysis) -> Markup:
    scale, ticks = _scale(rows, analysis)
    bottom = 8 + sum(50 if row.main else 42 for row in rows)
    parts = [
        axis_x(scale, ticks, bottom, 4, "points of the total"),
        line(scale(0), 4, scale(0), bottom, "zero"),
    ]
    y = 8.0
    for row in rows:
        parts.append(_line(row, scale, y + 16))
        y += 50 if row.main else 42
    first = asked(analysis)
    plus, minus = sides(first[0]) if len(first) == 1 else ("first side", "second side")
    ends = (
        (14, f"\N{LEFTWARDS ARROW} {minus} higher", "start"),
        (WIDTH - 14, f"{plus} higher \N{RIGHTWARDS ARROW}", "end"),
    )
    parts += [text(x, bottom + 46, said, anchor, "tick") for x, said, anchor in ends]
    return drawing(WIDTH, bottom + 54, title, *parts, class_="fluid")


def _line(row: Row, scale: Scale, y: float) -> Markup:
    """Label and numbers above, the interval below: fits a narrow screen."""
    parts = [
        text(14, y, row.label, "start", "strong halo" if row.main else "halo"),
        text(WIDTH - 14, y, row.note, "end", "num halo"),
    ]
    below = y + 15
    if row.low is not None and row.high is not None:
        parts += whisker(scale, row.low, row.high, below, "whisker" if row.main else "whisker thin")
    if row.estimate is not None and scale.low <= row.estimate <= scale.high:
        style = "dot s0" if row.low is not None else "dot s0 hollow"
        parts.append(marker(scale(row.estimate), below, 1, style, 4.5 if row.main else 3.2))
    return tag("g", *parts)


def whisker(scale: Scale, low: float, high: float, y: float, class_: str) -> list[Markup]:
    """An interval; an end beyond the scale is an arrow."""
    left, right = scale(max(low, scale.low)), scale(min(high, scale.high))
    parts = [line(left, y, right, y, class_)]
    for end, value, limit, sign in ((left, low, scale.low, -1), (right, high, scale.high, 1)):
        beyond = value < limit if sign < 0 else value > limit
        arrow = [(end - 6 * sign, y - 5), (end, y), (end - 6 * sign, y + 5)]
        parts.append(path(arrow, class_) if beyond else line(end, y - 5, end, y + 5, class_))
    return parts


def interaction(analysis: Analysis) -> Figure:
    """Means at both sides of the first contrast: all pairs of arms together, then each with its
    patients as thin lines.
    """
    title = "Means at both sides of the contrast"
    caption = "Means of patients' means. Thick: a pair of arms; thin: one simulated patient."
    if any(" x " in row.effect for row in analysis.tests):
        caption += (
            " Lines that are not parallel are an interaction. Descriptive: the table of "
            "omnibus tests holds the test."
        )
    if not rated(analysis):
        return Figure("interaction", title, caption, empty=NOTHING)
    rows, first = analysis.contrasts.primary.rows, asked(analysis)[:1]
    pairs = [row for row in rows if row.contrast == first[0].name] if first else []
    means = _means(analysis)
    pairs = [row for row in pairs if means.keys() & {row.plus, row.minus}]
    if not pairs:
        return Figure("interaction", title, caption, empty="Not drawn: no two arms are compared.")
    plus, minus = sides(first[0])
    shown = [mean for row in pairs for arm in arms(row) for mean in means.get(arm, {}).values()]
    ticks = nice(min(shown), max(shown), 5)
    shapes = [Look(row.label, number, number) for number, row in enumerate(pairs)]
    lines = [_mean_line(row, means, ticks, look) for row, look in zip(pairs, shapes, strict=True)]
    drawn = [_panel("all pairs", (minus, plus), ticks, lines)] if len(pairs) > 1 else []
    for row, own in zip(pairs, lines, strict=True):
        thin = _patient_lines(row, means, (minus, plus), ticks)
        drawn.append(_panel(row.label, (minus, plus), ticks, [*thin, own]))
    return Figure("interaction", title, caption, drawn, tuple(shapes))


Means = Mapping[str, Mapping[str, float]]
"""Arm -> patient -> mean."""


def arms(row: Comparison) -> tuple[str, str]:
    """The arm that is taken off first, so that a gain goes up to the right."""
    return row.minus, row.plus


def _means(analysis: Analysis) -> Means:
    found: dict[str, dict[str, float]] = {}
    for cell in analysis.cells:
        found.setdefault(cell["arm"], {})[cell["patient"]] = cell["mean"]
    return found


def _x(index: int) -> float:
    return 66 + 150 * index


def _panel(
    name: str, names: Sequence[str], ticks: Sequence[float], lines: Sequence[Markup]
) -> Markup:
    y = Scale(ticks[0], ticks[-1], 200, 44)
    right = _x(1) + 32
    words = [text(_x(i), 220, side, "middle", "tick") for i, side in enumerate(names)]
    title = f"Mean total at both sides: {name}"
    axis = axis_y(y, ticks, 40, right, name)
    return drawing(right + 14, 230, title, axis, *words, *lines)


def _mean_line(row: Comparison, means: Means, ticks: Sequence[float], look: Look) -> Markup:
    y = Scale(ticks[0], ticks[-1], 200, 44)
    known = [(i, arm, list(means.get(arm, {}).values())) for i, arm in enumerate(arms(row))]
    points = [(_x(i), y(sum(own) / len(own)), arm) for i, arm, own in known if own]
    places = [(a, b) for a, b, _ in points]
    dots = [
        marker(a, b, look.shape, f"dot {look.class_}", 4.5, f"{arm}, all patients")
        for a, b, arm in points
    ]
    return tag("g", path(places, f"line solid {look.class_}") if len(places) > 1 else "", *dots)


def _patient_lines(
    row: Comparison, means: Means, names: Sequence[str], ticks: Sequence[float]
) -> list[Markup]:
    y = Scale(ticks[0], ticks[-1], 200, 44)
    own = [means.get(arm, {}) for arm in arms(row)]
    lines = []
    for patient in dict.fromkeys(patient for side in own for patient in side):
        known = [(i, side[patient]) for i, side in enumerate(own) if patient in side]
        told = ", ".join(f"{names[i]} {one(mean)}" for i, mean in known)
        places = [(_x(i), y(mean)) for i, mean in known]
        dots = [marker(a, b, 0, "dot thin", 2) for a, b in places]
        hint = tag("title", f"{patient}: {told}")
        lines.append(tag("g", hint, path(places, "patient") if len(places) > 1 else "", *dots))
    return lines
