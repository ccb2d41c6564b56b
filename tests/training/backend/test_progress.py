"""Live figures: what a step reports of the run that made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.training.backend.job import MadeStep
from tests.training.backend.runs import Kept, Killed, Train

pytestmark = pytest.mark.train


def test_speed_and_time_are_those_of_this_run(train: Train, tmp_path: Path) -> None:
    kept, steps = Kept(tmp_path / "kept", die_behind={4}), list[MadeStep]()
    with pytest.raises(Killed):
        train("first", kept)
    train("second", kept, steps.append)
    first, last = steps
    assert (first.step, last.step, last.left_s) == (5, 6, 0)
    assert first.left_s > 0
    fed = last.tokens - first.tokens
    spent = last.seconds - first.seconds
    # One step as the whole of this run's time: had the four steps before it counted, it would be
    # five times as fast.
    assert last.tokens_per_second < 3 * fed / spent
    assert last.memory_gib >= first.memory_gib > 0.1
