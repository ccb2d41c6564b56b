"""Checks of the fitted model: Q-Q plot and residuals."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report.figure import Figure
from cbt_ray.report.svg import Scale, axis_x, axis_y, cloud, drawing, line, nice

Points = Sequence[Sequence[float]]


def residuals(analysis: Analysis, name: str) -> Figure:
    """Standardized residuals of one mixed model against normal quantiles, and against fitted
    values.
    """
    model, id_ = analysis["models"].get(name), f"residuals-{name}"
    title = f"Residuals of the {name} mixed model"
    if not model or model["status"] != "fitted":
        why = f" ({model['reason']})" if model else ""
        return Figure(id_, title, "", empty=f"Not drawn: the model is not fitted{why}.")
    shown, total = model["residuals_shown"]
    caption = (
        "Left: Q-Q plot against the normal distribution. Right: standardized residuals "
        f"over fitted values. {model['formula']}"
    )
    caption += f"; {shown} of {total} points." if shown < total else "."
    low = min(min(point) for point in model["qq"])
    high = max(max(point) for point in model["qq"])
    diagonal = [(low, low), (high, high)]
    panels = [
        _scatter(model["qq"], "Q-Q plot", ("normal quantile", "standardized residual"), diagonal),
        _scatter(
            model["residuals"],
            "Residuals over fitted values",
            ("fitted total", "standardized residual"),
            None,
        ),
    ]
    return Figure(id_, title, caption, panels)


def _scatter(points: Points, title: str, names: tuple[str, str], rule: Points | None) -> Markup:
    x_ticks = nice(min(p[0] for p in points), max(p[0] for p in points), 5)
    y_ticks = nice(min(p[1] for p in points), max(p[1] for p in points), 5)
    x, y = Scale(x_ticks[0], x_ticks[-1], 38, 328), Scale(y_ticks[0], y_ticks[-1], 232, 28)
    parts = [axis_x(x, x_ticks, 232, 28, names[0]), axis_y(y, y_ticks, 34, 328, names[1])]
    if rule is None:
        parts.append(line(38, y(0), 328, y(0), "zero"))
    else:
        start, end = (
            max(x_ticks[0], y_ticks[0], rule[0][0]),
            min(x_ticks[-1], y_ticks[-1], rule[1][0]),
        )
        parts.append(line(x(start), y(start), x(end), y(end), "zero"))
    parts.append(
        cloud(
            [(x(a), y(b)) for a, b in points], "cloud s0" if len(points) < 100 else "cloud small s0"
        )
    )
    return drawing(340, 270, title, *parts)
