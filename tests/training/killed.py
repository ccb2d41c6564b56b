"""Trains the tiny model with checkpoints in a folder store: the program that test_killed.py kills.

python -m tests.training.killed BASE DATASET STORE WORK RECIPE
Prints a line at each part, so that a kill can be placed; exits 0 with the adapter under WORK, or 1 where SIGTERM ended it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cbt_ray.errors import Owed
from cbt_ray.store.folder import FolderStore
from cbt_ray.study.model import Recipe
from cbt_ray.training.backend import Job, Progress, open_backend
from cbt_ray.training.base import open_base
from cbt_ray.training.checkpoint import StoreCheckpoints
from cbt_ray.training.dataset import read
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import mask
from cbt_ray.unit import Key, Stage

KEY = Key("study", Stage.FINETUNE, "tiny-tuned", "0123456789abcdef")


class Told(StoreCheckpoints):
    """Says when a checkpoint is on its way."""

    def save(self, step: int, folder: Path) -> None:
        _say(f"saving {step}")
        super().save(step, folder)


def main(base_folder: str, dataset: Path, store: Path, work: Path, settings: str) -> int:
    settle()
    recipe, base, splits = Recipe.model_validate_json(settings), open_base(base_folder, work), read(dataset)
    parts = [mask(part, base.template, base.tokenizer, recipe.max_length).windows for part in (splits.train, splits.held_out)]
    checkpoints = Told(FolderStore(store), KEY, work / "checkpoints")
    _say("starting")
    try:
        open_backend("trl").train(Job(recipe, base, *parts, work, 1), checkpoints, _report)
    except Owed:
        return 1
    return 0


def _report(step: Progress) -> None:
    _say(f"step {step.step}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:5]), sys.argv[5]))
