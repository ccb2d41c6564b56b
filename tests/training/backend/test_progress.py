"""Live figures: what a step reports, and that taking the held-out loss on the way leaves no
trace.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.training.backend.job import MadeStep
from tests.training.backend.runs import Kept, Killed, Train, lasting, weights

pytestmark = pytest.mark.train


def test_losses_on_the_way_change_no_bit(train: Train) -> None:
    steps: list[MadeStep] = []
    with_losses, without = train("with", report=steps.append, held_out_steps=2), train("without")
    assert weights(with_losses) == weights(without)
    assert with_losses.metrics["grad_norm"] == without.metrics["grad_norm"]
    assert without.metrics["held_out"] == []
    found = with_losses.metrics["held_out"]
    assert [(step.step, step.held_out) for step in steps if step.held_out is not None] == [
        tuple(one) for one in found
    ]
    assert [step for step, _ in found] == [2, 4, 6]
    assert (
        found[-1][1] == with_losses.metrics["held_out_after"] == without.metrics["held_out_after"]
    )
    assert with_losses.metrics["held_out_before"] != found[0][1] != found[1][1]


def test_a_continued_run_knows_the_losses_before_it(train: Train, tmp_path: Path) -> None:
    whole, kept = train("whole", held_out_steps=1), Kept(tmp_path / "kept", die_behind={4})
    with pytest.raises(Killed):
        train("first", kept, held_out_steps=1)
    assert lasting(train("second", kept, held_out_steps=1)) == lasting(whole)


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
