"""Kill -9 and SIGTERM at random points: the adapter ends with the bits of a run that nothing
disturbed.

KILLS=20 python -m pytest tests/training/backend/test_killed.py kills more often than the suite
does.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.store.folder import FolderStore
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.checkpoint import StoreCheckpoints
from cbt_ray.training.dataset import Splits, write
from cbt_ray.training.start.base import Base
from tests.training.backend import killed

Ended = tuple[bytes, dict[str, Any]]
pytestmark = pytest.mark.train
KILLS = int(os.environ.get("KILLS", "4"))
STEPS = 8
CONSTANT = {"schedule": "constant", "warmup_steps": 0}
ENDS = {-signal.SIGKILL, -signal.SIGTERM, 0, killed.OWED}
"""Exit codes: killed, terminated before there was anything to save, done before the signal came,
saved and stopped."""


class Program:
    """The training in processes of their own: dataset and store are shared by its runs, its work
    folder is each run's.
    """

    def __init__(
        self, base: Base, splits: Splits, recipe: Recipe, folder: Path, **more: Any
    ) -> None:
        self.base, self.folder = base, folder
        self.settings = recipe.model_copy(
            update={"max_steps": STEPS, "checkpoint_steps": 1, **CONSTANT, **more}
        )
        self.dataset = write(splits, folder / "dataset")
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.training.backend.warm"])

    def start(self, name: str, store: str) -> tuple[BaseProcess, Connection]:
        here, there = self.context.Pipe(duplex=False)
        paths = (self.base.folder, self.dataset, self.folder / store, self.folder / name)
        run = self.context.Process(
            target=killed.train, args=(*paths, self.settings.model_dump_json(), there)
        )
        run.start()
        there.close()  # so that the end of the process is the end of what it says
        return run, here

    def whole(self, name: str, store: str) -> Ended:
        run, _ = self.start(name, store)
        run.join()
        assert run.exitcode == 0
        return self.ended(name)

    def ended(self, name: str) -> Ended:
        """The adapter's bits and what was measured."""
        folder = self.folder / name
        metrics = json.loads((folder / killed.METRICS).read_text())
        return (folder / "adapter" / "adapter_model.safetensors").read_bytes(), metrics

    def kept(self, store: str) -> int:
        """The step of the last whole checkpoint."""
        found = StoreCheckpoints(
            FolderStore(self.folder / store), killed.KEY, self.folder / "looked-at", killed.DATA
        ).latest()
        return found[0] if found else 0

    def kill(self, name: str, store: str, line: str, delay: float, how: signal.Signals) -> int:
        """Start a run, wait for a line of it and a moment more, kill it, and give its exit code."""
        run, said = self.start(name, store)
        try:
            while said.recv() != line:
                pass
            time.sleep(delay)
        except EOFError:
            pass
        if run.is_alive() and run.pid is not None:
            os.kill(run.pid, how)
        run.join()
        assert run.exitcode is not None
        return run.exitcode


def _places(draw: random.Random, kept: int) -> list[tuple[str, float]]:
    """Start-up, a step under way, a checkpoint being written: a line to wait for, and how much
    longer.
    """
    step = min(kept + draw.choice((1, 2)), STEPS)
    return [
        ("starting", draw.uniform(0, 2)),
        (f"step {step}", draw.uniform(0, 0.5)),
        (f"saving {step}", draw.uniform(0, 0.02)),
    ]


@pytest.mark.parametrize("keep", ["last", "best"])
def test_killed_at_random_points_it_ends_with_the_same_bits(
    tiny: Base, splits: Splits, recipe: Recipe, tmp_path: Path, keep: str
) -> None:
    """And with the same losses by epoch; the best epoch is the first, long before a kill."""
    program, draw = Program(tiny, splits, recipe, tmp_path, keep=keep), random.Random(7)
    undisturbed, done, ends = program.whole("whole", "store-whole"), 0, list[tuple[str, int]]()
    assert undisturbed[1]["kept"]["step"] == {"last": STEPS, "best": 2}[keep]
    assert [point["epoch"] for point in undisturbed[1]["measured"]] == [0, 1, 2, 3, 4]
    for turn in range(KILLS):
        before = program.kept(f"store-{done}")
        line, delay = _places(draw, before)[turn % 3]
        code = program.kill(
            f"run-{turn}",
            f"store-{done}",
            line,
            delay,
            (signal.SIGKILL, signal.SIGTERM)[turn // 2 % 2],
        )
        ends.append((line, code))
        assert code in ENDS
        assert program.kept(f"store-{done}") >= before, "a checkpoint was lost"
        if (
            code == 0
            # the signal came after the last step: this training is done, and the next one begins
            # anew
        ):
            assert program.ended(f"run-{turn}") == undisturbed
            done += 1
    assert program.whole("last", f"store-{done}") == undisturbed
    print(f"{KILLS} kills: {ends}")


def test_another_seed_would_end_with_other_bits(
    tiny: Base, splits: Splits, recipe: Recipe, tmp_path: Path
) -> None:
    program = Program(tiny, splits, recipe, tmp_path)
    first = program.whole("first", "store-first")
    program.settings = program.settings.model_copy(update={"seed": 7})
    assert program.whole("second", "store-second")[0] != first[0]
