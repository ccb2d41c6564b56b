"""`batching: padding_free`: windows behind each other in one row give the loss and the gradients of
the padded batch.
"""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.training.backend import trl_backend
from cbt_ray.training.backend.job import Job
from tests.training.backend.runs import Train

pytestmark = pytest.mark.train


def _first_step(
    train: Train, monkeypatch: pytest.MonkeyPatch, batching: str, **more: Any
) -> tuple[float, dict[str, Any], Any]:
    """Loss and gradients of the first batch, and what was fed.

    The adapter is not zero, or half of its gradients would be.
    """
    import torch

    made_by, grads, fed = trl_backend.adapted_model, {}, {}

    def record(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        fed.update({name: one.clone() for name, one in inputs.items() if torch.is_tensor(one)})

    def watched(job: Job) -> Any:
        model = made_by(job)
        draw = torch.Generator().manual_seed(1)
        for name, one in model.named_parameters():
            if "lora_B" in name:
                one.data = torch.randn(one.shape, generator=draw) * 0.1
            if one.requires_grad:
                one.register_post_accumulate_grad_hook(
                    lambda one, name=name: grads.update({name: one.grad.clone()})
                )
        model.register_forward_pre_hook(record, with_kwargs=True)
        return model

    with monkeypatch.context() as patch:
        patch.setattr(trl_backend, "adapted_model", watched)
        name = f"{batching}-{len(more)}"
        trained = train(name, held=False, batching=batching, max_steps=1, accumulation=1, **more)
    return trained.metrics["loss"][0], grads, fed


def _lora(train: Train, recipe: Any) -> dict[str, Any]:
    return {"lora": recipe.lora.model_copy(update={"dropout": 0.0})}


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize("load_4bit", [True, False])
def test_loss_and_gradients_are_those_of_the_padded_batch(
    train: Train, recipe: Any, monkeypatch: pytest.MonkeyPatch, batch: int, load_4bit: bool
) -> None:
    import torch

    more = {"batch": batch, "load_4bit": load_4bit, "max_length": 150, **_lora(train, recipe)}
    padded_loss, padded, fed = _first_step(train, monkeypatch, "padded", **more)
    assert len(fed["attention_mask"].sum(-1).unique()) > 1, "windows of unequal lengths"
    loss, grads, row = _first_step(train, monkeypatch, "padding_free", **more)
    assert row["input_ids"].shape == (1, int(fed["attention_mask"].sum()))
    assert int((row["position_ids"] == 0).sum()) == batch
    assert loss == pytest.approx(padded_loss, abs=1e-5)
    assert grads.keys() == padded.keys()
    for name, one in padded.items():
        assert float(one.norm()) > 0
        assert torch.allclose(grads[name], one, atol=1e-5, rtol=1e-4), name


def test_windows_that_saw_each_other_would_be_noticed(
    train: Train, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Position ids that run on through the row: that is what a library without the mask between
    windows does.
    """
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    more = {"batch": 3, **_lora(train, recipe)}
    padded_loss, padded, _ = _first_step(train, monkeypatch, "padded", **more)
    sound = DataCollatorForLanguageModeling.torch_call

    def harmed(self: Any, examples: Any) -> Any:
        made = sound(self, examples)
        made["position_ids"] = torch.arange(made["input_ids"].shape[1])[None]
        return made

    monkeypatch.setattr(DataCollatorForLanguageModeling, "torch_call", harmed)
    loss, grads, _ = _first_step(train, monkeypatch, "padding_free", **more)
    assert loss != pytest.approx(padded_loss, abs=1e-5)
    assert any(
        not torch.allclose(grads[name], one, atol=1e-5, rtol=1e-4) for name, one in padded.items()
    )


def test_no_logits_are_made_of_tokens_without_a_loss(
    train: Train, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL's chunked loss stays on."""
    from trl.trainer import sft_trainer

    seen = []
    chunked = sft_trainer._chunked_cross_entropy_loss

    def watched(*args: Any, **more: Any) -> Any:
        seen.append(int((more["labels"] != -100).sum()))
        return chunked(*args, **more)

    monkeypatch.setattr(sft_trainer, "_chunked_cross_entropy_loss", watched)
    train("chunked", held=False, batching="padding_free", max_steps=1, accumulation=1)
    assert len(seen) == 1
