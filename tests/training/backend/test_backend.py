"""The TRL backend on a tiny model: what reaches the model, gradients after an evaluation, and
continuing bit for bit.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError, Owed
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import epochs, open_backend, trl_backend
from cbt_ray.training.backend.job import Job, MadeStep
from cbt_ray.training.backend.loss import mean_loss
from cbt_ray.training.dataset import Splits
from cbt_ray.training.mask import IGNORED, Window, mask
from cbt_ray.training.start.base import Base
from tests.needs import needs
from tests.training.backend.runs import Kept, Killed, Train, lasting, watch, weights

pytestmark = pytest.mark.train


def test_labels_reach_the_model_unchanged(
    train: Train, tiny: Base, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As masked, padded with -100, each window once an epoch.

    The end of a turn stays supervised though it is the pad too.
    """
    fed: list[tuple[list[int], list[int]]] = []

    def record(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        for ids, labels, seen in zip(
            inputs["input_ids"], inputs["labels"], inputs["attention_mask"], strict=True
        ):
            count = int(seen.sum())
            assert set(labels[count:].tolist()) <= {IGNORED}
            fed.append((ids[:count].tolist(), labels[:count].tolist()))

    watch(monkeypatch, trl_backend, record)
    windows = mask(splits.train, tiny.template, tiny.tokenizer, 192).windows
    train("fed", held=False, max_steps=None, epochs=1.0, batching="padded")
    assert tiny.eos_id == tiny.pad_id
    assert all(
        ids[at] == tiny.eos_id
        for ids, labels in fed
        for at in range(len(ids))
        if labels[at] == tiny.eos_id
    )
    assert sum(labels.count(tiny.eos_id) for _, labels in fed) == sum(
        len(one["messages"]) // 2 for one in splits.train
    )
    assert sorted(fed) == sorted((window.input_ids, window.labels) for window in windows)


def test_the_reported_loss_is_that_of_the_supervised_tokens(
    train: Train, tiny: Base, splits: Splits, recipe: Recipe
) -> None:
    """Computed here from all logits.

    The first step is made at a learning rate of 0, and one batch holds all windows.
    """
    import torch

    windows = mask(splits.train, tiny.template, tiny.tokenizer, 192).windows
    more = {
        "batch": len(windows),
        "accumulation": 1,
        "max_steps": 1,
        "lora": recipe.lora.model_copy(update={"dropout": 0.0}),
    }
    trained = train("loss", **more)
    model = trl_backend.load_model(tiny.folder, recipe).eval()

    def by_hand(some: list[Window]) -> float:
        total, count = 0.0, 0
        for window in some:
            logits = model(torch.tensor([window.input_ids])).logits[0].log_softmax(-1)
            for at, label in enumerate(window.labels[1:]):
                if label != IGNORED:
                    total -= float(logits[at, label])
                    count += 1
        return total / count

    with torch.no_grad():
        assert trained.metrics["loss"][0] == pytest.approx(by_hand(windows), abs=1e-4)
        before = trained.metrics["measured"][0]
        assert (before["step"], set(before["loss"])) == (0, {"train", "held_out", "test"})
        for split, loss in before["loss"].items():
            some = mask(getattr(splits, split), tiny.template, tiny.tokenizer, 192).windows
            assert loss == pytest.approx(by_hand(some), abs=1e-5), split


def test_training_teaches_and_reports_each_step(train: Train) -> None:
    steps: list[MadeStep] = []
    trained = train("taught", report=steps.append)
    assert [(step.step, step.steps) for step in steps] == [(number, 6) for number in range(1, 7)]
    first, *_, last = trained.metrics["measured"]
    assert all(last["loss"][split] < first["loss"][split] for split in first["loss"])
    assert trained.metrics["loss"] == [step.loss for step in steps]
    assert steps[-1].tokens == trained.metrics["tokens_seen"] > steps[0].tokens > 0


def test_gradients_are_the_same_after_an_evaluation(train: Train) -> None:
    """On AVX512-BF16 CPUs bitsandbytes repacks 4-bit weights at the first evaluation and loses
    their gradients.
    """
    with_evaluation, without = train("with"), train("without", held=False)
    assert with_evaluation.metrics["grad_norm"] == without.metrics["grad_norm"]
    assert weights(with_evaluation) == weights(without)


def test_the_test_above_would_notice(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes

    needs("avx512_bf16", bool(bitsandbytes.functional.has_avx512bf16()))
    monkeypatch.setattr(trl_backend, "keep_gradients", lambda _model: None)
    with_evaluation, without = train("with"), train("without", held=False)
    assert with_evaluation.metrics["grad_norm"] != without.metrics["grad_norm"]


def test_the_adapter_is_trained_in_fp32(train: Train) -> None:
    """TRL turns the adapter of a 4-bit model into bf16 unless it is kept from it."""
    import torch
    from safetensors.torch import load_file

    for value in load_file(train("exact").adapter / "adapter_model.safetensors").values():
        assert value.dtype == torch.float32
        assert not torch.equal(value, value.bfloat16().float())


def test_a_run_killed_twice_ends_with_the_same_bits(train: Train, tmp_path: Path) -> None:
    whole = train("whole")
    kept = Kept(tmp_path / "kept", die_behind={2, 4})
    for attempt in ("first", "second"):
        with pytest.raises(Killed):
            train(attempt, kept)
    continued = train("third", kept)
    assert kept.steps == [2, 4, 6]
    assert continued.metrics["resumed_from"] == 4
    assert weights(continued) == weights(whole)
    assert lasting(continued) == lasting(whole)


@pytest.mark.parametrize(("minutes", "steps"), [(1e-9, [1, 2, 3, 4, 5, 6]), (10_000, [2, 4, 6])])
def test_a_checkpoint_comes_by_time_or_by_steps_and_is_whole(
    train: Train, tmp_path: Path, minutes: float, steps: list[int]
) -> None:
    """Also the one that time alone asked for: a run goes on from it to the same bits."""
    kept = Kept(tmp_path / "kept", die_behind={steps[-2]})
    with pytest.raises(Killed):
        train("first", kept, checkpoint_minutes=minutes)
    continued = train("second", kept, checkpoint_minutes=minutes)
    assert kept.steps == steps
    assert continued.metrics["resumed_from"] == steps[-2]
    assert weights(continued) == weights(train("whole"))


def test_sigterm_saves_and_a_rerun_ends_with_the_same_bits(train: Train, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")

    def terminate(step: MadeStep) -> None:
        if step.step == 3:  # no batch is made behind it
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Owed, match="after step 3 of 6; running"):
        train("stopped", kept, terminate)
    assert (kept.steps, kept.batches) == ([2, 3], [0, 0])
    assert weights(train("continued", kept)) == weights(train("whole"))


def test_sigterm_before_the_first_step_loses_nothing(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def terminated(*arguments: Any) -> float | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return mean_loss(*arguments)

    monkeypatch.setattr(epochs, "mean_loss", terminated)
    kept = Kept(tmp_path / "kept")
    with pytest.raises(Owed, match="after step 0 of 6"):
        train("early", kept)
    assert kept.steps == []


@pytest.mark.parametrize("last", [6, 5, 2])
def test_a_rerun_behind_the_last_step_trains_no_more(
    train: Train, last: int, tmp_path: Path
) -> None:
    """Killed between training and export: the last checkpoint is the trained model, wherever in an
    epoch it lies.
    """
    kept, steps = Kept(tmp_path / "kept"), list[MadeStep]()
    whole = train("whole", kept, max_steps=last)
    again = train("again", kept, steps.append, max_steps=last)
    assert steps == []
    assert weights(again) == weights(whole)
    assert lasting(again) == lasting(whole)


def test_a_loss_that_is_no_number_ends_the_training(train: Train, tmp_path: Path) -> None:
    """Nothing is trained on behind it, and no checkpoint is made of it."""
    kept, steps = Kept(tmp_path / "kept"), list[MadeStep]()
    with pytest.raises(
        InputError,
        match=r"learning_rate: expected finite losses; at step \d it is (nan|inf), its gradient's "
        r"norm",
    ):
        train("burst", kept, steps.append, learning_rate=1e30)
    assert steps[-1].step < 6
    assert kept.steps == [number for number in (2, 4) if number < steps[-1].step]


@pytest.mark.parametrize(
    ("where", "said"),
    [("step", "batch, max_length: expected a training"), ("base", "load_4bit: expected a base")],
)
def test_what_does_not_fit_a_gpu_is_for_the_user_to_see_to(
    train: Train, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    """As torch says it on a GPU."""
    import torch

    def out_of_memory(*_given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines")

    if where == "base":
        monkeypatch.setattr(trl_backend, "load_model", out_of_memory)
    with pytest.raises(InputError) as error:
        train("large", report=out_of_memory)
    assert (
        str(error.value)
        == f"{said} that fits the GPU (CUDA out of memory. Tried to allocate 2.00 GiB.)"
    )


def test_a_target_that_the_model_lacks_is_named(train: Train, recipe: Recipe) -> None:
    """Beside others PEFT would pass over it without a word."""
    lora = recipe.lora.model_copy(update={"targets": ("q_proj", "self_attn.v_proj", "c_attn")})
    with pytest.raises(
        InputError,
        match=r"lora\.targets: expected linear layers of the model, some of .*o_proj.*, found "
        r"'c_attn'",
    ):
        train("targets", lora=lora)


def test_what_flows_from_layer_to_layer_is_of_the_models_type(
    tiny: Base, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16, as on a GPU: norms and embeddings in fp32 would make fp32 of it, and twice the
    memory.
    """
    import torch

    monkeypatch.setattr(trl_backend, "compute_type", lambda: torch.bfloat16)
    model = trl_backend.adapted_model(Job(recipe, tiny, [], {}, tmp_path, 1))
    seen: set[Any] = set()
    for layer in model.get_base_model().get_decoder().layers:
        layer.register_forward_hook(
            lambda _layer, given, made: seen.update({given[0].dtype, made.dtype})
        )
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    assert (seen, logits.dtype) == ({torch.bfloat16}, torch.bfloat16)


def test_what_cannot_be_trained_is_refused(tiny: Base, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"backend unsloth: expected .*; use `backend: trl`"):
        open_backend("unsloth")
    with pytest.raises(InputError, match="train: expected at least one example"):
        open_backend("trl").train(
            Job(recipe, tiny, [], {}, tmp_path, 1), Kept(tmp_path), lambda _step: None
        )
