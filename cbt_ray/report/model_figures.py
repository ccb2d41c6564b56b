"""Checks of the fitted model (Q-Q, residuals) and the training loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cbt_ray.report.data import TrainingRow
from cbt_ray.report.figure import Figure
from cbt_ray.report.svg import Scale, axis_x, axis_y, drawing, line, marker, nice, path

Points = Sequence[Sequence[float]]


def fitted(analysis: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The mixed model that was fitted, the published one before the reduced one."""
    models = (analysis["mixed"]["published"], analysis["mixed"]["reduced"])
    return next((model for model in models if model and model["status"] == "fitted"), None)


def qq(analysis: Mapping[str, Any]) -> Figure:
    """Standardized residuals against normal quantiles, and against fitted values."""
    title = "Residuals of the mixed model"
    model = fitted(analysis)
    if model is None:
        return Figure(
            "residuals", title, "", empty=f"Not drawn: no mixed model is fitted ({analysis['mixed']['published']['reason']})."
        )
    shown, total = model["residuals_shown"]
    caption = (
        f"Left: Q-Q plot against the normal distribution. Right: standardized residuals over fitted values. {model['formula']}"
    )
    caption += f"; {shown} of {total} points." if shown < total else "."
    low = min(min(point) for point in model["qq"])
    high = max(max(point) for point in model["qq"])
    diagonal = [(low, low), (high, high)]
    panels = [
        _scatter(model["qq"], "Q-Q plot", ("normal quantile", "standardized residual"), diagonal),
        _scatter(model["residuals"], "Residuals over fitted values", ("fitted total", "standardized residual"), None),
    ]
    return Figure("residuals", title, caption, panels)


def _scatter(points: Points, title: str, names: tuple[str, str], rule: Points | None) -> Markup:
    x_ticks = nice(min(p[0] for p in points), max(p[0] for p in points), 5)
    y_ticks = nice(min(p[1] for p in points), max(p[1] for p in points), 5)
    x, y = Scale(x_ticks[0], x_ticks[-1], 38, 328), Scale(y_ticks[0], y_ticks[-1], 232, 28)
    parts = [axis_x(x, x_ticks, 232, 28, names[0]), axis_y(y, y_ticks, 34, 328, names[1])]
    if rule is None:
        parts.append(line(38, y(0), 328, y(0), "zero"))
    else:
        start, end = max(x_ticks[0], y_ticks[0], rule[0][0]), min(x_ticks[-1], y_ticks[-1], rule[1][0])
        parts.append(line(x(start), y(start), x(end), y(end), "zero"))
    size = 2.6 if len(points) < 100 else 1.8
    parts += [marker(x(a), y(b), 0, "dot faint s0", size) for a, b in points]
    return drawing(340, 270, title, *parts)


def loss(training: Sequence[TrainingRow]) -> Figure:
    """Training loss over steps, a panel per model."""
    title = "Training loss"
    caption = "Loss of each logged training step; the table gives the held-out loss before and after."
    found = [row for row in training if len(row.curve) > 1]
    if not found:
        return Figure("loss", title, caption, empty="Not drawn: no loss curve is recorded.")
    return Figure("loss", title, caption, [_curve(row) for row in found])


def _curve(row: TrainingRow) -> Markup:
    steps, losses = zip(*row.curve, strict=True)
    x_ticks, y_ticks = nice(min(steps), max(steps), 5), nice(min(losses), max(losses), 4)
    x, y = Scale(x_ticks[0], x_ticks[-1], 40, 328), Scale(y_ticks[0], y_ticks[-1], 190, 34)
    axes = (axis_x(x, x_ticks, 190, 190, "step"), axis_y(y, y_ticks, 36, 330, f"{row.model}: loss"))
    return drawing(340, 230, f"Training loss of {row.model}", *axes, path([(x(a), y(b)) for a, b in row.curve], "line s0"))
