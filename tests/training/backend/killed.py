"""Trains the tiny model with checkpoints in a folder store: the process that test_killed.py
kills.
"""

from __future__ import annotations

import json
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from cbt_ray.errors import Owed
from cbt_ray.store.folder import FolderStore
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import epochs, open_backend
from cbt_ray.training.backend.job import Job
from cbt_ray.training.checkpoint import StoreCheckpoints
from cbt_ray.training.dataset import NAMES, read
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import mask
from cbt_ray.training.start.base import open_base
from cbt_ray.unit import Key, Stage
from tests.training.backend.runs import lasting, turned, unlike

DATA = "fedcba9876543210"
KEY = Key("study", Stage.ADAPTER, "tiny-tuned", "0123456789abcdef")
METRICS = "metrics.json"
OWED = 3
"""Exit code where SIGTERM ended it with a checkpoint."""


class Told(StoreCheckpoints):
    """Says when a checkpoint is on its way."""

    told: Connection

    def save(self, step: int, folder: Path, batches: int = 0) -> None:
        self.told.send(f"saving {step}")
        super().save(step, folder, batches)


def train(
    base_folder: Path, dataset: Path, store: Path, work: Path, settings: str, told: Connection
) -> None:
    """Say each part over `told`, so that a kill can be placed; leave the adapter under `work`."""
    settle()
    recipe, base, splits = (
        Recipe.model_validate_json(settings),
        open_base(str(base_folder), work),
        read(dataset),
    )
    windows = {
        split: mask(
            getattr(splits, split), base.template, base.tokenizer, recipe.max_length
        ).windows
        for split in NAMES
    }
    windows["held_out"] = unlike(windows["held_out"])
    epochs.mean_loss = turned  # type: ignore[attr-defined]
    checkpoints = Told(FolderStore(store), KEY, work / "checkpoints", DATA)
    checkpoints.told = told
    told.send("starting")
    try:
        trained = open_backend("trl").train(
            Job(recipe, base, windows["train"], windows, work, 1),
            checkpoints,
            lambda step: told.send(f"step {step.step}"),
        )
    except Owed:
        sys.exit(OWED)
    (work / METRICS).write_text(json.dumps(lasting(trained)))
