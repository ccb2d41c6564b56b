"""Effects: the forest plot (the answer, with what other policies would say) and the plot of the
model x variant interaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cbt_ray.report.answer import total_range
from cbt_ray.report.figure import NOTHING, Figure, Look, rated
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


def forest(analysis: Mapping[str, Any]) -> Figure:
    """Per model the contrast with its interval, then the other answers where they differ."""
    settings, family = analysis["settings"], analysis["contrasts"]["primary"]
    title = f"Difference {settings['treatment']} \N{MINUS SIGN} {settings['control']} per model"
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


def _rows(index: int, analysis: Mapping[str, Any]) -> list[Row]:
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


def _scale(rows: Sequence[Row], analysis: Mapping[str, Any]) -> tuple[Scale, list[float]]:
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


def _draw(rows: Sequence[Row], title: str, analysis: Mapping[str, Any]) -> Markup:
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
    settings = analysis["settings"]
    parts.append(
        text(14, bottom + 46, f"\N{LEFTWARDS ARROW} {settings['control']} higher", "start", "tick")
    )
    parts.append(
        text(
            WIDTH - 14,
            bottom + 46,
            f"{settings['treatment']} higher \N{RIGHTWARDS ARROW}",
            "end",
            "tick",
        )
    )
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


def interaction(analysis: Mapping[str, Any]) -> Figure:
    """Mean per model and variant: all models together, then each with its patients as thin
    lines.
    """
    title = "Interaction of model and variant"
    caption = (
        "Means of patients' means at each variant. Thick: a model; thin: one simulated patient."
    )
    if any(row["effect"] == "model x variant" for row in analysis["tests"]):
        caption += (
            " Lines that are not parallel are an interaction. Descriptive: the table of "
            "omnibus tests holds the test."
        )
    if not rated(analysis):
        return Figure("interaction", title, caption, empty=NOTHING)
    variants = [
        v for v in _variants(analysis) if any(arm["variant"] == v for arm in analysis["arms"])
    ]
    if len(variants) < 2:
        return Figure(
            "interaction", title, caption, empty="Not drawn: all arms have the same variant."
        )
    means = _means(analysis)
    values = [mean for patients in means.values() for mean in patients.values()]
    ticks = nice(min(values), max(values), 5)
    models = list(dict.fromkeys(arm["model"] for arm in analysis["arms"]))
    shapes = {model: Look(model, number, number) for number, model in enumerate(models)}
    panels = [
        _panel(
            "all models",
            variants,
            ticks,
            [_mean_line(m, means, variants, ticks, look) for m, look in shapes.items()],
        )
    ]
    for model in models:
        own = [_mean_line(model, means, variants, ticks, shapes[model])]
        panels.append(
            _panel(model, variants, ticks, [*_patient_lines(model, means, variants, ticks), *own])
        )
    return Figure("interaction", title, caption, panels, tuple(shapes.values()))


def _variants(analysis: Mapping[str, Any]) -> list[str]:
    """The control first, so that a gain goes up to the right."""
    settings = analysis["settings"]
    return list(
        dict.fromkeys(
            [
                settings["control"],
                settings["treatment"],
                *(arm["variant"] for arm in analysis["arms"]),
            ]
        )
    )


def _means(analysis: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, float]]:
    """(model, variant) -> patient -> mean of the cells of its arms."""
    levels = {arm["arm"]: (arm["model"], arm["variant"]) for arm in analysis["arms"]}
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for cell in analysis["cells"]:
        found.setdefault(levels[cell["arm"]], {}).setdefault(cell["patient"], []).append(
            cell["mean"]
        )
    return {
        key: {patient: sum(values) / len(values) for patient, values in own.items()}
        for key, own in found.items()
    }


def _x(variants: Sequence[str], index: int) -> float:
    return 66 + 150 * index / max(1, len(variants) - 1) if len(variants) < 3 else 66 + 75 * index


def _panel(
    name: str, variants: Sequence[str], ticks: Sequence[float], lines: Sequence[Markup]
) -> Markup:
    y = Scale(ticks[0], ticks[-1], 200, 44)
    right = _x(variants, len(variants) - 1) + 32
    names = [
        text(_x(variants, i), 220, variant, "middle", "tick") for i, variant in enumerate(variants)
    ]
    return drawing(
        right + 14,
        230,
        f"Mean total by variant: {name}",
        axis_y(y, ticks, 40, right, name),
        *names,
        *lines,
    )


def _mean_line(
    model: str,
    means: Mapping[tuple[str, str], Mapping[str, float]],
    variants: Sequence[str],
    ticks: Sequence[float],
    look: Look,
) -> Markup:
    y = Scale(ticks[0], ticks[-1], 200, 44)
    points = []
    for index, variant in enumerate(variants):
        own = list(means.get((model, variant), {}).values())
        if own:
            points.append((index, sum(own) / len(own)))
    places = [(_x(variants, index), y(mean)) for index, mean in points]
    hints = [f"{model} {variants[index]}, all patients" for index, _ in points]
    dots = [
        marker(a, b, look.shape, f"dot {look.class_}", 4.5, hint)
        for (a, b), hint in zip(places, hints, strict=True)
    ]
    return tag("g", path(places, f"line solid {look.class_}") if len(places) > 1 else "", *dots)


def _patient_lines(
    model: str,
    means: Mapping[tuple[str, str], Mapping[str, float]],
    variants: Sequence[str],
    ticks: Sequence[float],
) -> list[Markup]:
    y = Scale(ticks[0], ticks[-1], 200, 44)
    patients = dict.fromkeys(
        patient for variant in variants for patient in means.get((model, variant), {})
    )
    lines = []
    for patient in patients:
        known = [
            (i, means[model, v][patient])
            for i, v in enumerate(variants)
            if patient in means.get((model, v), {})
        ]
        hint = tag(
            "title", f"{patient}: " + ", ".join(f"{variants[i]} {one(mean)}" for i, mean in known)
        )
        places = [(_x(variants, i), y(mean)) for i, mean in known]
        dots = [marker(a, b, 0, "dot thin", 2) for a, b in places]
        lines.append(tag("g", hint, path(places, "patient") if len(places) > 1 else "", *dots))
    return lines
