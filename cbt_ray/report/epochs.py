"""The losses of a training by epoch: a figure, a table, and what they say in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from cbt_ray.report.data import TrainingRow
from cbt_ray.report.figure import Figure, Look
from cbt_ray.report.part import Part, Text
from cbt_ray.report.prose import three, whole
from cbt_ray.report.svg import Scale, axis_x, axis_y, drawing, line, marker, nice, path, text
from cbt_ray.report.table import Cell, Row, Table
from cbt_ray.training.measured import SPLITS, UNSEEN, Point, chosen_by, lowest

LEFT, RIGHT, TOP, BOTTOM = 56, 472, 40, 220
_LOOKS = {split: Look(name, number, number) for number, (split, name) in enumerate(SPLITS.items())}
_TEXT = {"held_out": "held-out text", "test": "test text"}


def parts(training: Sequence[TrainingRow]) -> Iterator[Part]:
    """Figure and words of each training, where more than one epoch was measured, and a table of
    all.
    """
    tuned = [row for row in training if len(row.measured) > 1]
    for number, row in enumerate(tuned, 1):
        yield figure(row, number)
        if said := words(row):
            yield Text(f"{row.model}: {said}")
    losses = table(training)
    if losses.rows:
        yield losses


def figure(row: TrainingRow, number: int) -> Figure:
    """A line a split, and the epoch that is kept."""
    splits, title = _splits(row.measured), f"Losses of {row.model} by epoch"
    caption = (
        "Loss per supervised token of each split at the end of each epoch; epoch 0 is before "
        "training. The vertical line is the epoch that is kept. Of the training set a sample is "
        "measured, and no step is made on the other text."
    )
    looks = [_LOOKS[split] for split in splits]
    panel = _drawn(row, splits, title)
    return Figure(f"losses-{number}", title, caption, [panel], looks, scored=False)


def table(training: Sequence[TrainingRow]) -> Table:
    """Every loss of every epoch."""
    rows = [
        Row([Cell(text) for text in (row.model, f"{point.epoch:g}", *_cells(row, point))])
        for row in training
        for point in row.measured
    ]
    names = ("Model", "Epoch", "Step", *map(str.capitalize, SPLITS.values()), "")
    head = [(name, not name) for name in names]
    note = (
        "Loss per supervised token, as the model's unit has it (metrics.measured). Epoch 0 is "
        "before training and is never kept."
    )
    return Table("t-losses", "Losses by epoch", head, rows, note)


def words(row: TrainingRow) -> str:
    """Which epoch is kept, which is the last one, and whether the model learns by heart."""
    return " ".join([*_kept(row), *overfitting(row.measured)])


def overfitting(points: Sequence[Point]) -> Iterator[str]:
    """A sentence for each unseen split whose loss rises after its lowest epoch, or never fell below
    its start; the first one says what became of the training set meanwhile.
    """
    said = False
    for split in UNSEEN:
        measured = [point for point in points if point.loss.get(split) is not None]
        best = lowest(measured, split, start=True)
        if best is None or len(measured) < 2:
            continue
        last, after = measured[-1], lowest(measured, split)
        if best.step == 0 or (after and _is_below(measured[0], after, split, equal=True)):
            found = _never(measured[0], after or last, last, split)
        elif _is_below(best, last, split):
            found = _rises(best, last, split)
        else:
            continue
        yield found[0] + ("." if said else found[1])
        said = True


def _rises(best: Point, last: Point, split: str) -> tuple[str, str]:
    said = (
        f"The loss on {_TEXT[split]}, which was not trained on, is lowest at epoch "
        f"{best.epoch:g} ({three(best.loss[split])}) and rises to {three(last.loss[split])} by "
        f"epoch {last.epoch:g}"
    )
    by_heart = f"from epoch {best.epoch:g} on the model learns its examples by heart"
    return said, _meanwhile(best, last, by_heart)


def _never(start: Point, after: Point, last: Point, split: str) -> tuple[str, str]:
    said = (
        f"The loss on {_TEXT[split]}, which was not trained on, never fell below its start: it is "
        f"{three(start.loss[split])} before training, {three(after.loss[split])} at its lowest "
        f"after that (epoch {after.epoch:g}) and {three(last.loss[split])} at the end"
    )
    return said, _meanwhile(start, last, "the model learns its examples by heart and no more")


def _meanwhile(one: Point, last: Point, by_heart: str) -> str:
    """What became of the training set, where it was measured."""
    before, after = one.loss.get("train"), last.loss.get("train")
    if before is None or after is None:
        return "."
    if _is_below(last, one, "train"):
        return (
            f", while that on the training set falls from {three(before)} to {three(after)}: "
            f"{by_heart}."
        )
    return (
        f", and that on the training set does not fall ({three(before)} to {three(after)}): the "
        "training itself goes astray, and its learning rate may be too high."
    )


def _kept(row: TrainingRow) -> Iterator[str]:
    by, kept = chosen_by(row.measured), row.kept
    best = lowest(row.measured, by)
    if kept is None or by is None or best is None:
        return
    last = row.measured[-1]
    end = f"{last.epoch:g} ({three(last.loss.get(by))})"
    lowest_ = f"epoch {best.epoch:g} ({three(best.loss[by])})"
    name = f"loss on {_TEXT[by]}"
    if best is last:
        yield f"Kept is the last epoch, {end}, which has the lowest {name}."
    elif kept.by is None:
        yield (
            f"Kept is the last epoch, {end}. The lowest {name} is that of {lowest_}, which "
            "keep: best in the recipe would keep."
        )
    else:
        yield f"Kept is {lowest_}, which has the lowest {name}; the last one is epoch {end}."
    if kept.by == "test":
        yield "It was chosen by the test text itself, so its loss there is too good a figure."


def _is_below(one: Point, other: Point, split: str, *, equal: bool = False) -> bool:
    """Whether a loss is below another one as both are printed."""
    low, high = one.loss[split], other.loss[split]
    if low is None or high is None:
        return False
    return round(low, 3) < round(high, 3) or (equal and round(low, 3) == round(high, 3))


def _splits(points: Sequence[Point]) -> list[str]:
    return [split for split in SPLITS if any(split in point.loss for point in points)]


def _cells(row: TrainingRow, point: Point) -> Iterator[str]:
    yield whole(point.step)
    for split in SPLITS:
        yield three(point.loss.get(split))
    marks = [
        mark
        for mark, at in (
            ("kept", row.kept.step if row.kept else None),
            ("last", row.measured[-1].step),
        )
        if at == point.step
    ]
    yield ", ".join(marks)


def _drawn(row: TrainingRow, splits: Sequence[str], title: str) -> Markup:
    losses = [loss for point in row.measured for loss in point.loss.values() if loss is not None]
    ticks = nice(0, row.measured[-1].epoch, 6, whole=True)
    x, y, parts = plane(ticks, losses, "loss per supervised token")
    if row.kept is not None:
        at = x(row.kept.epoch)
        parts += [line(at, TOP, at, BOTTOM, "again"), text(at, TOP - 6, "kept", "middle", "tick")]
    for split in splits:
        parts += _curve(row.measured, split, x, y)
    return sheet(title, parts)


def plane(
    x_ticks: Sequence[float], losses: Sequence[float], label: str
) -> tuple[Scale, Scale, list[Markup]]:
    """Scales of epochs and losses, and their axes."""
    y_ticks = nice(min(losses, default=0), max(losses, default=1), 5)
    x, y = Scale(x_ticks[0], x_ticks[-1], LEFT, RIGHT), Scale(y_ticks[0], y_ticks[-1], BOTTOM, TOP)
    across = axis_x(x, x_ticks, BOTTOM, TOP, "epoch")
    return x, y, [across, axis_y(y, y_ticks, LEFT - 4, RIGHT + 2, label)]


def sheet(title: str, parts: Sequence[Markup]) -> Markup:
    """What is drawn in a plane, with room for its labels."""
    return drawing(RIGHT + 24, BOTTOM + 38, title, *parts, class_="fluid")


def _curve(points: Sequence[Point], split: str, x: Scale, y: Scale) -> Iterator[Markup]:
    """Its line and its points, which say their numbers."""
    look = _LOOKS[split]
    found = [(point.epoch, loss) for point in points if (loss := point.loss.get(split)) is not None]
    if len(found) > 1:
        yield path([(x(epoch), y(loss)) for epoch, loss in found], f"line {look.class_}")
    for epoch, loss in found:
        hint = f"{look.label}, epoch {epoch:g}: {three(loss)}"
        yield marker(x(epoch), y(loss), look.shape, f"dot {look.class_}", 4, hint)
