"""Section on training: what each one was, how it went, what was checked of its model, and the files
it made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cbt_ray.report import candidates, epochs
from cbt_ray.report.data import Curve, Curves, ReportData, TrainingRow
from cbt_ray.report.figure import Figure
from cbt_ray.report.part import Fold, Pairs, Part, Section
from cbt_ray.report.prose import (
    DASH,
    counted,
    duration,
    listed,
    one,
    size,
    text,
    three,
    whole,
    words,
    yes,
)
from cbt_ray.report.svg import Scale, axis_x, axis_y, drawing, marker, nice, path, tag
from cbt_ray.report.table import Cell, Row, Table

MOST = 240
"""Points of a line; a longer training is drawn as means of neighbouring steps, with their lowest
and highest."""
LEFT, RIGHT, TOP, BOTTOM = 56, 332, 32, 176
OUTCOME = {True: "passed", False: "failed", None: "reported"}


def training(data: ReportData) -> Section:
    """Losses by epoch, curves, parity checks, files, and what else is known of each training."""
    checks, preference = _checks(data.training), _preference(data.training)
    parts: list[Part] = [
        _trainings(data.training),
        *candidates.parts(data.candidates),
        *epochs.parts(data.training),
        *([preference] if preference.rows else []),
        *curves(data.training),
        *([checks] if checks.rows else []),
        *(
            Fold(f"Files of {row.model}, with their SHA-256", [Pairs(_files(row))])
            for row in data.training
            if row.files
        ),
        *(
            Fold(f"Details of {row.model}", [Pairs(row.details)])
            for row in data.training
            if row.details
        ),
    ]
    return Section("training", "Training", parts)


def _trainings(training: Sequence[TrainingRow]) -> Table:
    head = ["Model", "Steps", "Epoch kept", "Tokens", "Tokens/s", "Memory, GiB", "Wall time"]
    rows = [
        _row(
            row.model,
            whole(row.steps),
            f"{row.kept.epoch:g}" if row.kept else DASH,
            whole(row.tokens),
            whole(row.tokens_per_second),
            one(row.memory_gib),
            duration(row.seconds),
        )
        for row in training
    ]
    note = (
        "Tokens: fed in all steps. Tokens/s: median over the steps. Memory: peak. Wall time: of "
        "the steps and the losses, without export."
    )
    empty = "" if rows else "No training is recorded."
    return Table(
        "t-training",
        "Trainings",
        [(name, False) for name in head],
        rows,
        note,
        empty,
    )


def _preference(training: Sequence[TrainingRow]) -> Table:
    head = [
        *("Model", "Pairs", "Number", "When", "Chosen likelier", "Margin", "Log p chosen"),
        *("Log p rejected", "Likelihood term", "Odds term"),
    ]
    rows = [
        _row(
            *(row.model, one.kind, whole(one.pairs), one.when, f"{one.figures.preferred:.0%}"),
            *(three(one.figures.margin), three(one.figures.log_p_chosen)),
            *(three(one.figures.log_p_rejected), three(one.figures.nll), three(one.figures.odds)),
        )
        for row in training
        for one in row.preference
    ]
    note = (
        "Chosen likelier: share of the pairs in which the model finds the chosen answer likelier "
        "than the rejected one, by the mean log-probability of a token. Margin: by how much, in "
        "nats. The loss is the likelihood term plus the odds term. Held-out: of patients that "
        "training does not see."
    )
    named = [(name, number < 4) for number, name in enumerate(head)]
    return Table("t-preference", "Preference pairs", named, rows, note)


def _checks(training: Sequence[TrainingRow]) -> Table:
    rows = [
        _row(
            row.model,
            check.name,
            OUTCOME[check.passed],
            shown(check.measured),
            shown(check.expected),
        )
        for row in training
        for check in row.checks
    ]
    head = [
        ("Model", False),
        ("Check", True),
        ("Outcome", True),
        ("Measured", True),
        ("Expected", True),
    ]
    note = "The model that was trained against the files that were made of it."
    if any(check.passed is None for row in training for check in row.checks):
        note += " Reported: measured, but no reason to refuse it."
    return Table("t-parity", "Parity checks of the exported models", head, rows, note)


def _files(row: TrainingRow) -> dict[str, str]:
    return {file.name: f"{file.sha256} ({size(file.size)})" for file in row.files}


def _row(*texts: str) -> Row:
    return Row([Cell(text) for text in texts])


def shown(value: object) -> str:
    """What a check measured or expected, as text."""
    if isinstance(value, Mapping):
        return (
            ", ".join(f"{words(str(name))} {shown(inner)}" for name, inner in value.items()) or DASH
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or DASH
    if isinstance(value, bool):
        return yes(value)
    return f"{value:.3g}" if isinstance(value, float) else text(value)


@dataclass(frozen=True)
class _Panel:
    """What a panel shows."""

    name: str
    axis: str
    line: Curve
    from_zero: bool = False

    def values(self) -> list[float]:
        """All finite numbers in it."""
        return [value for _, value in self.line if value is not None]


@dataclass(frozen=True)
class _Bin:
    """Neighbouring steps as one point of a line."""

    step: float
    mean: float
    low: float
    high: float


def curves(training: Sequence[TrainingRow]) -> list[Figure]:
    """A figure for each model that was tuned; an empty one where nothing is recorded."""
    drawn = [(row, panels) for row in training if (panels := _panels(row))]
    if not drawn:
        return [
            Figure(
                "training-1",
                "Training",
                "",
                empty="Not drawn: no loss curve is recorded.",
                scored=False,
            )
        ]
    return [
        Figure(
            f"training-{number}",
            f"Training of {row.model}",
            _caption(row.curves),
            panels,
            scored=False,
        )
        for number, (row, panels) in enumerate(drawn, 1)
    ]


def _caption(found: Curves) -> str:
    """What lines and marks are."""
    parts = ["Training loss is that of each step's batch."]
    steps = _size(found.loss)
    if steps > 1:
        parts.append(
            f"Each point of a line is the mean of {counted(steps, 'step')}, the band is their "
            "lowest to highest."
        )
    if found.resumed:
        parts.append(
            "Dashed: a later run went on from the checkpoint of step "
            f"{listed(sorted(set(found.resumed)))}."
        )
    missing = sum(value is None for _, value in found.loss)
    if missing:
        parts.append(f"Steps without a finite loss: {missing}.")
    return " ".join(parts)


def _panels(row: TrainingRow) -> list[Markup]:
    found = row.curves
    wanted = [
        _Panel("loss", "training loss", found.loss),
        _Panel("gradient norm", "gradient norm", found.grad_norm, from_zero=True),
        _Panel("margin", "margin, nats a token", found.margin),
        _Panel("tokens per second", "tokens per second", found.tokens_per_second, from_zero=True),
        _Panel("memory", "memory, GiB", found.memory_gib, from_zero=True),
    ]
    kept = [panel for panel in wanted if len(panel.values()) > 1]
    last = max((step for panel in kept for step, _ in panel.line), default=0)
    return [_drawn(panel, row, last) for panel in kept]


def _drawn(panel: _Panel, row: TrainingRow, last: int) -> Markup:
    values = panel.values()
    x_ticks = nice(0, last, 5, whole=True)
    y_ticks = nice(0 if panel.from_zero else min(values), max(values), 4)
    x, y = Scale(x_ticks[0], x_ticks[-1], LEFT, RIGHT), Scale(y_ticks[0], y_ticks[-1], BOTTOM, TOP)
    parts = [
        axis_x(x, x_ticks, BOTTOM, BOTTOM, "step"),
        axis_y(y, y_ticks, LEFT - 4, RIGHT + 2, panel.axis),
    ]
    parts += [_mark(x(step), step) for step in sorted(set(row.curves.resumed))]
    for segment in _segments(panel.line):
        parts += _line(segment, x, y)
    return drawing(350, 214, f"Training of {row.model}: {panel.name} over steps", *parts)


def _mark(at: float, step: int) -> Markup:
    hint = tag("title", f"taken up again after step {step}")
    return tag("line", hint, x1=at, y1=float(BOTTOM), x2=at, y2=float(TOP), class_="again")


def _line(segment: Sequence[_Bin], x: Scale, y: Scale) -> list[Markup]:
    """A line through steps without a gap, over the band of what its points stand for."""
    if len(segment) == 1:
        return [marker(x(segment[0].step), y(segment[0].mean), 0, "dot s0", 2)]
    line = path([(x(step.step), y(step.mean)) for step in segment], "line s0")
    if all(step.low == step.high for step in segment):
        return [line]
    around = [(x(step.step), y(step.low)) for step in segment] + [
        (x(step.step), y(step.high)) for step in reversed(segment)
    ]
    return [path(around, "area s0", closed=True), line]


def _segments(curve: Curve) -> list[list[_Bin]]:
    """The line in pieces: a step (or a whole bin of them) without a finite number is a gap."""
    width = _size(curve)
    segments: list[list[_Bin]] = [[]]
    for start in range(0, len(curve), width):
        part = curve[start : start + width]
        values = [value for _, value in part if value is not None]
        if not values:
            segments.append([])
            continue
        middle = sum(step for step, _ in part) / len(part)
        segments[-1].append(_Bin(middle, sum(values) / len(values), min(values), max(values)))
    return [segment for segment in segments if segment]


def _size(curve: Curve) -> int:
    return max(1, math.ceil(len(curve) / MOST))
