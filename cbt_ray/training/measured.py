"""Measured: a training's losses before it, at each whole epoch and at its end, by split, and the
epoch that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SPLITS = {"train": "training set", "held_out": "held out", "test": "test"}
"""Split -> what people read."""
UNSEEN = ("held_out", "test")
"""Those that no step is made on; the first that was measured decides which epoch is best."""


@dataclass(frozen=True)
class Point:
    """The losses of a model on its way, each per supervised token of its split."""

    step: int
    epoch: float
    """Times through what it is trained on; 0: before training."""
    loss: Mapping[str, float | None]
    """By split, where it has any text; None: no finite number."""

    @property
    def said(self) -> str:
        """For a line of a log."""
        found = {SPLITS[split]: loss for split, loss in self.loss.items() if loss is not None}
        return f"epoch {self.epoch:g}: " + (
            ", ".join(f"{name} {loss:.3f}" for name, loss in found.items()) or "no finite loss"
        )


@dataclass(frozen=True)
class Kept:
    """The point whose adapter is the model, and by which split it was chosen.

    None: it is the last one, whatever its loss.
    """

    step: int
    epoch: float
    by: str | None = None


def chosen_by(points: Iterable[Point]) -> str | None:
    """The split by whose loss an epoch is the best one; None where no unseen text was measured."""
    measured = {split for point in points for split in point.loss}
    return next((split for split in UNSEEN if split in measured), None)


def lowest(points: Sequence[Point], split: str | None, *, start: bool = False) -> Point | None:
    """The point with the lowest loss of a split, at equal losses the earlier.

    With `start` that before training counts, too. It is never kept: its adapter is the untouched
    one, and the tuned model would be the base under another name, compared with itself.
    """
    found = [
        (loss, point)
        for point in points
        if (point.step or start) and (loss := point.loss.get(split or "")) is not None
    ]
    return min(found, key=lambda one: (one[0], one[1].step))[1] if found else None


def point_of(points: Iterable[Point], kept: Kept | None) -> Point | None:
    """The point that is kept."""
    return next((one for one in points if kept and one.step == kept.step), None)


def points_of(found: Any) -> list[Point]:
    """Points as they were read from JSON, sorted; what is no point is passed over."""
    listed = found if isinstance(found, list | tuple) else []
    points = [point for one in listed if (point := _point(one)) is not None]
    return sorted(points, key=lambda point: point.step)


def kept_of(found: Mapping[str, Any] | None) -> Kept | None:
    """The same of what is kept."""
    return None if found is None else Kept(**found)


def json_of(points: Iterable[Point]) -> list[dict[str, Any]]:
    """As they are written."""
    return [asdict(point) for point in points]


def finite(value: Any) -> float | None:
    """A number, or None where it is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _point(one: Any) -> Point | None:
    if not isinstance(one, dict) or not isinstance(one.get("loss"), dict):
        return None
    step, epoch = one.get("step"), finite(one.get("epoch"))
    if not isinstance(step, int) or isinstance(step, bool) or epoch is None:
        return None
    if not 0 <= step < 1 << 53:
        return None
    known = {split: finite(one["loss"][split]) for split in SPLITS if split in one["loss"]}
    return Point(step, epoch, known)
