"""The epochs of a training: the losses at the end of each, and the adapter that is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend.adapter import exact
from cbt_ray.training.backend.arguments import epoch_steps
from cbt_ray.training.backend.job import Job
from cbt_ray.training.backend.loss import mean_loss
from cbt_ray.training.gate.prompts import spread
from cbt_ray.training.mask import Window
from cbt_ray.training.measured import (
    UNSEEN,
    Kept,
    Point,
    chosen_by,
    finite,
    json_of,
    lowest,
    points_of,
)

FEWEST = 48
"""Windows of the training set that are measured, where there are as many and the recipe allows it:
the loss of fewer would say more of which they are."""
_POINTS, _BEST = "epochs.json", "epochs.safetensors"
"""What is in a checkpoint, besides the trainer's own files."""


def measured_windows(recipe: Recipe, splits: Mapping[str, list[Window]]) -> dict[str, list[Window]]:
    """The windows that are measured, by split, where it has any: of what is trained on as many as
    the larger of the others has, at least FEWEST, spread evenly.
    """
    most = recipe.measured_windows
    others = {split: spread(splits.get(split, []), most) for split in UNSEEN}
    enough = max(FEWEST, *map(len, others.values()))
    train = spread(splits.get("train", []), min(enough, most or enough))
    return {split: windows for split, windows in {"train": train, **others}.items() if windows}


class Epochs:
    """What was measured so far, from a checkpoint on where there is one.

    With `keep: best` the adapter of the best epoch so far, too: a run that continues could not
    make it again.
    """

    def __init__(self, job: Job, checkpoint: Path | None) -> None:
        from safetensors.torch import load_file

        self._job, self._steps = job, epoch_steps(job)
        self._untold: list[Point] = []
        self._points: list[Point] = []
        self.best: dict[str, Any] = {}
        if checkpoint is not None:
            self._points = points_of(json.loads((checkpoint / _POINTS).read_text()))
            if (checkpoint / _BEST).exists():
                self.best = load_file(checkpoint / _BEST)

    def end_with(self, step: int) -> bool:
        """Whether an epoch ends with this step."""
        return step % self._steps == 0

    def measure(self, model: Any, step: int, asked: Event) -> None:
        """Take the losses of all splits, unless they are taken, or SIGTERM asks for an end: the run
        that goes on takes them.
        """
        if not self._job.measured or any(point.step == step for point in self._points):
            return
        loss = {
            split: finite(mean_loss(model, windows, asked))
            for split, windows in self._job.measured.items()
        }
        if asked.is_set():
            return
        point = Point(step, self._epoch(step), loss)
        self._points.append(point)
        self._untold.append(point)
        if self._job.recipe.keep == "best" and self._lowest() is point:
            self.best = {name: one.cpu() for name, one in exact(model).items()}

    def new(self) -> tuple[Point, ...]:
        """What was measured since this was asked last."""
        found, self._untold = tuple(self._untold), []
        return found

    def write(self, folder: Path) -> None:
        """Put it into a checkpoint."""
        from safetensors.torch import save_file

        (folder / _POINTS).write_text(json.dumps(json_of(self._points)))
        if self.best:
            save_file(self.best, folder / _BEST)

    def metrics(self, last: int) -> dict[str, Any]:
        """All points, and which of them is kept after the last step (JSON)."""
        best = self._lowest() if self.best else None
        kept = (
            Kept(best.step, best.epoch, chosen_by(self._points))
            if best is not None
            else Kept(last, self._epoch(last))
        )
        return {"measured": json_of(self._points), "kept": asdict(kept)}

    def _lowest(self) -> Point | None:
        return lowest(self._points, chosen_by(self._points))

    def _epoch(self, step: int) -> float:
        return round(step / self._steps, 4)
