"""Effects: the means at both sides of the contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.asked import Comparison, sides
from cbt_ray.report.figure import NOTHING, Figure, Look, asked, rated, sessions_an_arm
from cbt_ray.report.prose import one
from cbt_ray.report.svg import Scale, axis_y, drawing, marker, nice, path, tag, text


def interaction(analysis: Analysis) -> Figure:
    """Means at both sides of the first contrast: all pairs of arms together, then each with its
    patients as thin lines.
    """
    title = "Means at both sides of the contrast"
    caption = (
        "Means of patients' means. Thick: a pair of arms; thin: one simulated patient, of "
        f"{analysis.counts.patients}. {sessions_an_arm(analysis)}"
    )
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
        found.setdefault(cell.arm, {})[cell.patient] = cell.mean
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
    axis = axis_y(y, ticks, 40, right, f"{name}: mean total")
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
