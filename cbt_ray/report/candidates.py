"""The candidates of a search: all of them in a table, their held-out losses by epoch, and what the
choice says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from markupsafe import Markup

from cbt_ray.count import agreeing
from cbt_ray.report.data import CandidateRow
from cbt_ray.report.epochs import plane, sheet
from cbt_ray.report.figure import Figure, Look
from cbt_ray.report.part import Part, Text
from cbt_ray.report.prose import DASH, counted, three
from cbt_ray.report.svg import Scale, marker, nice, path
from cbt_ray.report.table import Cell, Row, Table
from cbt_ray.training.measured import SPLITS

_CHOSEN = Look("chosen", 0, 0)


def parts(candidates: Sequence[CandidateRow]) -> Iterator[Part]:
    """The table, then of each model a figure and words."""
    if not candidates:
        return
    yield table(candidates)
    for number, (model, rows) in enumerate(groupby(candidates, lambda one: one.model), 1):
        own = list(rows)
        if sum(len(one.measured) > 1 for one in own) > 1:
            yield figure(own, number)
        if said := words(own):
            yield Text(f"{model}: {said}")


def table(candidates: Sequence[CandidateRow]) -> Table:
    """Every candidate, also those that were not chosen."""
    names = ("Model", "Learning rate", "Rank", "Epochs", "Epoch kept")
    head = [*names, *map(str.capitalize, SPLITS.values()), ""]
    rows = [Row([Cell(text) for text in _cells(one)]) for one in candidates]
    note = (
        "Loss per supervised token of each split at the epoch that is kept. The lowest held-out "
        "loss is chosen, at equal losses that of the smaller values."
    )
    named = [(name, not name) for name in head]
    return Table("t-search", "Candidates of the search", named, rows, note)


def words(candidates: Sequence[CandidateRow]) -> str:
    """Which candidate was chosen from how many, and how good its losses are."""
    chosen = next((one for one in candidates if one.chosen), None)
    if chosen is None:
        return ""
    lost = Counter(one.lost for one in candidates if one.lost)
    of = ", ".join(
        [
            counted(len(candidates), "candidate"),
            *(f"{count} of which {why}" for why, count in sorted(lost.items())),
        ]
    )
    said = (
        f"Chosen from {of}: {_values(chosen)}, with the lowest held-out loss, "
        f"{three(_loss(chosen, 'held_out'))}."
    )
    if len(candidates) == 1:
        return said
    said += " Being the lowest of several, that is too good a figure"
    if _loss(chosen, "test") is None:
        return f"{said}."
    return f"{said}; its loss on test text, by which nothing was chosen, is not."


def figure(candidates: Sequence[CandidateRow], number: int) -> Figure:
    """A line a candidate, thin but for the chosen one."""
    title = f"Held-out loss of the candidates of {candidates[0].model} by epoch"
    caption = (
        "A line for each candidate; epoch 0 is before training. The points of a line say its "
        "values."
    )
    legend = [_CHOSEN] if any(one.chosen for one in candidates) else []
    return Figure(
        f"search-{number}", title, caption, [_drawn(candidates, title)], legend, scored=False
    )


def _values(one: CandidateRow) -> str:
    said = f"learning rate {one.learning_rate:g}, rank {one.rank}"
    if one.epochs is None:
        return said
    return f"{said}, {one.epochs:g} {agreeing(one.epochs, 'epoch')}"


def _loss(one: CandidateRow, split: str) -> float | None:
    return one.at_kept.loss.get(split) if one.at_kept else None


def _cells(one: CandidateRow) -> Iterator[str]:
    yield from (one.model, f"{one.learning_rate:g}", str(one.rank))
    yield DASH if one.epochs is None else f"{one.epochs:g}"
    yield f"{one.kept.epoch:g}" if one.kept else DASH
    for split in SPLITS:
        yield three(_loss(one, split))
    yield "chosen" if one.chosen else one.lost or ("" if one.kept else "owed")


def _drawn(candidates: Sequence[CandidateRow], title: str) -> Markup:
    losses = [loss for one in candidates for _, loss in _line(one)]
    ticks = nice(0, max(one.measured[-1].epoch for one in candidates if one.measured), 6)
    x, y, drawn = plane(ticks, losses, "held-out loss per supervised token")
    for one in sorted(candidates, key=lambda one: one.chosen):
        drawn += _curve(one, _line(one), x, y)
    return sheet(title, drawn)


def _line(one: CandidateRow) -> list[tuple[float, float]]:
    held_out = ((point.epoch, point.loss.get("held_out")) for point in one.measured)
    return [(epoch, loss) for epoch, loss in held_out if loss is not None]


def _curve(
    one: CandidateRow, line: Sequence[tuple[float, float]], x: Scale, y: Scale
) -> Iterator[Markup]:
    """A candidate's line and its points, which say its values."""
    if len(line) > 1:
        style = f"line {_CHOSEN.class_}" if one.chosen else "patient"
        yield path([(x(epoch), y(loss)) for epoch, loss in line], style)
    style = f"dot {_CHOSEN.class_}" if one.chosen else "dot thin"
    for epoch, loss in line:
        hint = f"{_values(one)}; epoch {epoch:g}: {three(loss)}"
        yield marker(x(epoch), y(loss), 0, style, 4 if one.chosen else 3, hint)
