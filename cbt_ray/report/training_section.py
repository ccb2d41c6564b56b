"""Section on training: what each one was, how it went, what was checked of its model, and the files
it made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cbt_ray.report import training_figures
from cbt_ray.report.data import ReportData, TrainingRow
from cbt_ray.report.part import Fold, Pairs, Part, Section
from cbt_ray.report.prose import DASH, duration, one, size, text, three, whole, words, yes
from cbt_ray.report.table import Cell, Row, Table

OUTCOME = {True: "passed", False: "failed", None: "reported"}


def training(data: ReportData) -> Section:
    """Losses before and after, curves, parity checks, files, and what else is known of each
    training.
    """
    checks = _checks(data.training)
    parts: list[Part] = [
        _trainings(data.training),
        *training_figures.curves(data.training),
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
    head = ["Model", "Steps", "Before", "After", "Tokens", "Tokens/s", "Memory, GiB", "Wall time"]
    rows = [
        _row(
            row.model,
            whole(row.steps),
            three(row.loss_before),
            three(row.loss_after),
            whole(row.tokens),
            whole(row.tokens_per_second),
            one(row.memory_gib),
            duration(row.seconds),
        )
        for row in training
    ]
    note = (
        "Before, after: loss per supervised token of held-out text. Tokens: fed in all steps. "
        "Tokens/s: median over the "
        "steps. Memory: peak. Wall time: of the steps and the losses, without export."
    )
    empty = "" if rows else "No training is recorded."
    return Table(
        "t-training",
        "Training and held-out loss",
        [(name, False) for name in head],
        rows,
        note,
        empty,
    )


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
