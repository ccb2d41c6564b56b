"""Losses at each epoch, the epoch that is kept, and a run that goes on after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cbt_ray.errors import InputError, Owed
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import epochs, trl_backend
from cbt_ray.training.backend.epochs import FEWEST, measured_windows
from cbt_ray.training.backend.job import MadeStep, Trained
from cbt_ray.training.dataset import NAMES, Splits
from cbt_ray.training.mask import Window, mask
from cbt_ray.training.start.base import Base
from tests.training.backend.runs import Kept, Killed, Train, lasting, turned, unlike, watch, weights

pytestmark = pytest.mark.train
FIVE = {"max_steps": None, "epochs": 5.0, "schedule": "constant", "checkpoint_steps": 1}
"""Two steps an epoch."""


@pytest.fixture
def windows(tiny: Base, splits: Splits, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Window]]:
    """Of each split; what is held out is unlike what is trained on."""
    monkeypatch.setattr(epochs, "mean_loss", turned)
    found = {
        split: mask(getattr(splits, split), tiny.template, tiny.tokenizer, 192).windows
        for split in NAMES
    }
    return {**found, "held_out": unlike(found["held_out"])}


@pytest.fixture
def five(train: Train, windows: dict[str, list[Window]]) -> Train:
    """Five epochs, of which the first is best by what is held out."""

    def run(name: str, *given: Any, keep: str = "best", **more: Any) -> Trained:
        own = {"job": {"measured": windows}, "keep": keep, **FIVE, **more}
        return train(name, *given, **own)

    return run


def test_each_split_is_measured_at_each_epoch_and_at_the_end(train: Train) -> None:
    steps: list[MadeStep] = []
    more = {**FIVE, "epochs": 2.5}
    measured = train("measured", report=steps.append, **more).metrics["measured"]
    assert [(one["step"], one["epoch"]) for one in measured] == [(0, 0), (2, 1), (4, 2), (5, 2.5)]
    assert all(set(one["loss"]) == {"train", "held_out", "test"} for one in measured)
    told = {step.step: [point.step for point in step.measured] for step in steps}
    assert told == {1: [0], 2: [2], 3: [], 4: [4], 5: [5]}
    shorter = train("shorter", **{**more, "epochs": 2.0}).metrics["measured"]
    assert shorter == measured[:-1]


def test_no_step_is_made_on_what_is_held_out_or_tested(
    train: Train, tiny: Base, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[list[int]] = []

    def record(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        for ids, seen in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            fed.append(ids[: int(seen.sum())].tolist())

    watch(monkeypatch, trl_backend, record)
    measured = train("fed", max_steps=None, epochs=2.0, batching="padded").metrics["measured"]
    assert set(measured[0]["loss"]) == set(NAMES)
    trained = mask(splits.train, tiny.template, tiny.tokenizer, 192).windows
    assert sorted(fed) == sorted([one.input_ids for one in trained] * 2)


def test_best_is_the_adapter_of_the_best_epoch_to_the_bit(five: Train) -> None:
    best, last, first = five("best"), five("last", keep="last"), five("first", epochs=1.0)
    assert best.metrics["kept"] == {"step": 2, "epoch": 1.0, "by": "held_out"}
    assert last.metrics["kept"] == {"step": 10, "epoch": 5.0, "by": None}
    assert weights(best) == weights(first) != weights(last)
    assert best.metrics["measured"] == last.metrics["measured"]
    held_out = [point["loss"]["held_out"] for point in best.metrics["measured"]]
    assert held_out == sorted(held_out), "and the untouched adapter is no candidate"


def test_without_held_out_text_the_test_decides(
    train: Train, windows: dict[str, list[Window]]
) -> None:
    job = {"measured": {"train": windows["train"], "test": unlike(windows["test"])}}
    found = train("tested", job=job, keep="best", **FIVE).metrics["kept"]
    assert found == {"step": 2, "epoch": 1.0, "by": "test"}


def test_best_of_nothing_is_refused(train: Train, windows: dict[str, list[Window]]) -> None:
    with pytest.raises(InputError, match="keep: expected last, since nothing is held out"):
        train("none", job={"measured": {"train": windows["train"]}}, keep="best")


def test_killed_in_the_third_epoch_it_keeps_the_best_one_to_the_bit(
    five: Train, tmp_path: Path
) -> None:
    """Once after a checkpoint in the middle of it, and once at its end."""
    whole, kept = five("whole"), Kept(tmp_path / "kept", die_behind={5, 6})
    for name in ("first", "second"):
        with pytest.raises(Killed):
            five(name, kept)
    continued = five("third", kept)
    assert continued.metrics["resumed_from"] == 6
    assert weights(continued) == weights(whole)
    assert lasting(continued) == lasting(whole)


def test_sigterm_at_the_end_of_an_epoch_puts_off_its_losses(
    five: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint comes first, and the run that goes on takes them: those of the same bits."""
    kept, told, taken = Kept(tmp_path / "kept"), list[MadeStep](), list[float | None]()

    def terminated(model: Any, measured: list[Window], broken_off: Event) -> float | None:
        if len(taken) == 3 * len(NAMES):  # before the first step and at two epochs
            os.kill(os.getpid(), signal.SIGTERM)
        taken.append(turned(model, measured, broken_off))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(epochs, "mean_loss", terminated)
        with pytest.raises(Owed, match="after step 6 of 10; running"):
            five("stopped", kept, told.append)
    assert taken[3 * len(NAMES) :] == [None] * len(NAMES), "no window is computed any more"
    assert (told[-1].step, told[-1].measured, kept.steps[-1]) == (6, (), 6)
    continued = five("continued", kept, told.append)
    assert [point.step for point in told[6].measured] == [6]
    whole = five("whole")
    assert weights(continued) == weights(whole)
    assert lasting(continued) == lasting(whole)


def test_a_rerun_after_the_last_step_keeps_the_best_epoch(five: Train, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    whole, steps = five("whole", kept), list[MadeStep]()
    again = five("again", kept, steps.append)
    assert steps == []
    assert weights(again) == weights(whole)
    assert lasting(again) == lasting(whole)


@pytest.mark.parametrize(
    ("most", "sizes", "expected"),
    [
        (None, (500, 60, 200), (200, 60, 200)),
        (None, (500, 3, 0), (FEWEST, 3, 0)),
        (None, (20, 3, 5), (20, 3, 5)),
        (2, (500, 60, 200), (2, 2, 2)),
        (100, (500, 3, 60), (60, 3, 60)),
    ],
)
def test_the_training_set_is_measured_on_as_many_windows_as_the_others(
    recipe: Recipe, most: int | None, sizes: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    splits = {
        split: [Window(split, number, [number], [number]) for number in range(size)]
        for split, size in zip(NAMES, sizes, strict=True)
    }
    found = measured_windows(recipe.model_copy(update={"measured_windows": most}), splits)
    assert [len(found.get(split, [])) for split in NAMES] == list(expected)
    assert all(found.values()), "a split without windows is not there"
    numbers = [window.session for window in found["train"]]
    assert numbers == sorted(set(numbers))
    spread = numbers[-1] - numbers[0]
    assert spread >= sizes[0] * (1 - 1 / len(numbers)) - 1, "over all of it"
