"""Kill -9 and SIGTERM at random points: the adapter ends with the bits of a run that nothing disturbed.

KILLS=20 python -m pytest tests/training/test_killed.py kills more often than the suite does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cbt_ray.store.folder import FolderStore
from cbt_ray.study.model import Recipe
from cbt_ray.training.base import Base
from cbt_ray.training.checkpoint import StoreCheckpoints
from cbt_ray.training.dataset import Splits, write
from tests.training.killed import KEY

pytestmark = pytest.mark.train
ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KILLS", "4"))
STEPS = 5


class Program:
    """The training as a program: base, dataset and store are shared by its runs, its work folder is each run's own."""

    def __init__(self, base: Base, splits: Splits, recipe: Recipe, folder: Path) -> None:
        self.base, self.folder = base, folder
        self.settings = recipe.model_copy(update={"max_steps": STEPS, "checkpoint_steps": 1, "held_out_steps": 2})
        self.dataset = write(splits, folder / "dataset")

    def start(self, name: str, store: str) -> subprocess.Popen[str]:
        paths = [self.base.folder, self.dataset, self.folder / store, self.folder / name]
        command = [sys.executable, "-m", "tests.training.killed", *map(str, paths), self.settings.model_dump_json()]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def adapter(self, name: str) -> bytes:
        return (self.folder / name / "adapter" / "adapter_model.safetensors").read_bytes()

    def kept(self, store: str) -> int:
        """The step of the last whole checkpoint."""
        found = StoreCheckpoints(FolderStore(self.folder / store), KEY, self.folder / "looked-at").latest()
        return found[0] if found else 0


def _kill(run: subprocess.Popen[str], line: str, delay: float, how: signal.Signals) -> int:
    """Wait for a line of the run and a moment more, kill it, and give its exit code; 0 where it was done before."""
    assert run.stdout is not None
    while (said := run.stdout.readline()) and said.strip() != line:
        pass
    time.sleep(delay)
    run.send_signal(how)
    _, errors = run.communicate(timeout=120)
    assert "Traceback" not in errors, errors
    return run.returncode


def _places(draw: random.Random, kept: int) -> list[tuple[str, float]]:
    """Start-up, a step under way, a checkpoint being written: a line to wait for, and how much longer."""
    step = min(kept + draw.choice((1, 2)), STEPS)
    return [("starting", draw.uniform(0, 4)), (f"step {step}", draw.uniform(0, 0.5)), (f"saving {step}", draw.uniform(0, 0.02))]


def test_killed_at_random_points_it_ends_with_the_same_bits(tiny: Base, splits: Splits, recipe: Recipe, tmp_path: Path) -> None:
    program, draw = Program(tiny, splits, recipe, tmp_path), random.Random(7)
    whole = program.start("whole", "store-whole")
    assert (whole.communicate(timeout=120), whole.returncode)[1] == 0
    kills, turn, codes = 0, 0, list[int]()
    while kills < KILLS:
        turn += 1
        store = f"store-{sum(code == 0 for code in codes)}"
        before = program.kept(store)
        line, delay = _places(draw, before)[turn % 3]
        code = _kill(program.start(f"run-{turn}", store), line, delay, (signal.SIGKILL, signal.SIGTERM)[turn // 2 % 2])
        assert code in {-signal.SIGKILL, -signal.SIGTERM, 0, 1}
        assert program.kept(store) >= before, "a checkpoint was lost"
        if code == 0:  # SIGTERM came behind the last step: this one is done, and the next begins anew
            assert program.adapter(f"run-{turn}") == program.adapter("whole")
        codes.append(code)
        kills += 1
    last = program.start("last", f"store-{sum(code == 0 for code in codes)}")
    assert (last.communicate(timeout=120), last.returncode)[1] == 0
    assert program.adapter("last") == program.adapter("whole")
    print(f"{kills} kills: exit codes {codes}")
