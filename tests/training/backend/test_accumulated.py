"""SIGTERM within a step of several batches: the batch that is under way is made, and no other; the
run that goes on makes none of them again and ends with the same bits.

SIGNALS=20 python -m pytest tests/training/backend/test_accumulated.py ends more runs than the suite
does.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from cbt_ray.errors import Owed
from cbt_ray.training.backend import accumulated, trl_backend
from cbt_ray.training.backend.job import Trained
from cbt_ray.training.preference import pair, read_preferences
from cbt_ray.training.start.base import Base
from tests.training.backend.runs import Kept, Train, lasting, watch, weights
from tests.training.sessions import PAIRS
from tests.training.test_preference import LINE, written

pytestmark = pytest.mark.train
SIGNALS = int(os.environ.get("SIGNALS", "4"))
STEPS, BATCHES = max(6, SIGNALS), 4
AT = 8
"""Six batches are an epoch, in steps of four and of two: this is the second of the third step."""
WITHIN = {"batch": 1, "accumulation": BATCHES, "max_steps": STEPS, "checkpoint_steps": 100}


class Ended:
    """Trains again and again; each run is sent SIGTERM while the model is at one of its batches."""

    def __init__(
        self, train: Train, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any
    ) -> None:
        self.train, self.more = train, {**WITHIN, "held": False, **more}
        self.kept, self.at, self.made = Kept(folder / "kept"), 0, 0
        self.monkeypatch = monkeypatch

    def batch(self, module: Any, _args: Any, _inputs: dict[str, Any]) -> None:
        """One more batch is computed."""
        if not module.training:
            return
        self.made += 1
        if self.made == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

    def run(self, name: str, kept: Kept, at: int = 0) -> Trained:
        """To the end, or to the signal at the batch of that number, counted over all runs."""
        self.at = at
        with self.monkeypatch.context() as patch:
            watch(patch, trl_backend, self.batch)
            return self.train(name, kept, **self.more)

    def stopped(self, number: int, at: int) -> str:
        with pytest.raises(Owed) as raised:
            self.run(f"run-{number}", self.kept, at)
        return str(raised.value)


@pytest.mark.parametrize("method", ["sft", "orpo"])
def test_no_batch_is_lost_or_made_twice(
    train: Train, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Also within the first step, and twice within one."""
    more: dict[str, Any] = {}
    if method == "orpo":
        lines = [{**LINE, "chosen": answer, "rejected": said} for said, answer in PAIRS[:3] * 2]
        pairs = pair(
            read_preferences(written(tmp_path, *lines)), tiny.template, tiny.tokenizer, 192
        )
        more = {"method": "orpo", "job": {"pairs": pairs.pairs, "train": []}}
    ended, draw = Ended(train, tmp_path, monkeypatch, **more), random.Random(7)
    whole = ended.run("whole", Kept(tmp_path / "whole"))
    all_batches, ended.made = ended.made, 0
    places = [2, 3, *sorted(draw.sample(range(4, all_batches), SIGNALS - 2))]
    for number, at in enumerate(places):
        ended.stopped(number, at)
        assert ended.made == at, "it stopped after the batch that was under way"
    assert ended.kept.batches[:2] == [2, 3]
    continued = ended.run("last", ended.kept)
    assert ended.made == all_batches
    assert weights(continued) == weights(whole)
    assert lasting(continued) == lasting(whole)
    print(f"{SIGNALS} signals at batches {places} of {all_batches}, {ended.kept.batches} in a step")


def test_what_is_left_of_a_step_is_said(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Ended(train, tmp_path, monkeypatch)
    said = ended.stopped(1, AT)
    assert f"after step 2 of {STEPS} and 2 batches of the next; running again continues" in said


def test_the_test_above_would_notice_gradients_that_were_lost(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Ended(train, tmp_path, monkeypatch)
    whole = ended.run("whole", Kept(tmp_path / "whole"))
    ended.made = 0
    ended.stopped(1, AT)
    file = ended.kept.last / accumulated._FILE
    left = torch.load(file, weights_only=True)
    assert all(one.abs().sum() > 0 for name, one in left["gradients"].items() if "lora_B" in name)
    torch.save({**left, "gradients": {}}, file)
    assert weights(ended.run("last", ended.kept)) != weights(whole)
