"""The unsloth backend.

Without a GPU its package cannot be imported, so a stand-in that loads through transformers and PEFT
takes
its place here: that proves our side only (what is asked of it, and that the same batches reach the
model in the same order). The losses of the real one are compared in ../test_gpu.py, on a GPU.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe
from cbt_ray.training import environment
from cbt_ray.training.backend import open_backend, trl_backend, unsloth_backend
from cbt_ray.training.backend.arguments import LOSS
from cbt_ray.training.backend.job import Job
from cbt_ray.training.preference import pair, read_preferences
from cbt_ray.training.start.base import Base
from tests.training.backend.runs import Train, lasting, watch, weights
from tests.training.sessions import PAIRS
from tests.training.test_preference import LINE, written

pytestmark = pytest.mark.train
Batch = list[tuple[str, list[Any]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for Unsloth on a machine that has a GPU's device, and what it was asked."""
    asked: dict[str, Any] = {}

    class FastLanguageModel:
        @staticmethod
        def from_pretrained(folder: str, **settings: Any) -> tuple[Any, None]:
            asked["load"] = {"folder": folder, **settings}
            recipe = Recipe.model_construct(load_4bit=settings["load_in_4bit"])
            return trl_backend.load_model(Path(folder), recipe), None

        @staticmethod
        def get_peft_model(
            model: Any,
            *,
            use_gradient_checkpointing: str,
            random_state: int,
            target_modules: list[str],
            **settings: Any,
        ) -> Any:
            from peft import LoraConfig, get_peft_model

            asked["adapt"] = {
                "checkpointing": use_gradient_checkpointing,
                "seed": random_state,
                **settings,
            }
            made = get_peft_model(
                model, LoraConfig(task_type="CAUSAL_LM", target_modules=target_modules, **settings)
            )
            trl_backend.keep_gradients(made)
            return made

    stand_in = ModuleType("unsloth")
    stand_in.__spec__ = ModuleSpec("unsloth", None)
    vars(stand_in)["FastLanguageModel"] = FastLanguageModel
    monkeypatch.setitem(sys.modules, "unsloth", stand_in)
    monkeypatch.setattr(environment, "GPU", ("/dev/null",))
    return asked


def _fed(
    train: Train, backend: str, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> tuple[list[Batch], Any]:
    """The batches of an epoch as they reach the model, and the training."""
    batches: list[Batch] = []

    def record(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        batches.append(
            [(name, one.tolist()) for name, one in sorted(inputs.items()) if hasattr(one, "tolist")]
        )

    with monkeypatch.context() as patch:
        watch(patch, {"trl": trl_backend, "unsloth": unsloth_backend}[backend], record)
        trained = train(
            f"{backend}-{len(more)}",
            backend=backend,
            held=False,
            max_steps=None,
            epochs=1.0,
            **more,
        )
    return batches, trained


@pytest.mark.parametrize("batching", ["padded", "padding_free"])
def test_the_same_batches_reach_the_model(
    train: Train, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, batching: str
) -> None:
    """And so, with the same kernels and the same loss behind both, they end with the same bits."""
    monkeypatch.setitem(LOSS, "trl", LOSS["unsloth"])
    ours, trl = _fed(train, "trl", monkeypatch, batching=batching)
    theirs, unsloth = _fed(train, "unsloth", monkeypatch, batching=batching)
    assert len(ours) > 2
    assert {name for name, _ in ours[0]} >= {"input_ids", "labels"}
    assert theirs == ours
    assert lasting(unsloth) == lasting(trl)
    assert weights(unsloth) == weights(trl)


def test_the_test_above_would_notice_another_order(
    train: Train, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = _fed(train, "trl", monkeypatch)
    theirs, _ = _fed(train, "unsloth", monkeypatch, seed=7)
    assert theirs != ours


def test_the_loss_of_each_is_the_same_sum(train: Train, asked: dict[str, Any]) -> None:
    ours, theirs = (
        train(name, backend=name, held=False).metrics["loss"] for name in ("trl", "unsloth")
    )
    assert LOSS["trl"] != LOSS["unsloth"]
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_what_is_asked_of_unsloth(
    train: Train, asked: dict[str, Any], tiny: Base, recipe: Recipe
) -> None:
    import torch

    train("asked", backend="unsloth", max_steps=1)
    kind = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    expected = {
        "folder": str(tiny.folder),
        "max_seq_length": recipe.max_length,
        "load_in_4bit": True,
        "dtype": kind,
    }
    assert asked["load"] == expected
    own = {
        "checkpointing": "unsloth",
        "seed": recipe.seed,
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
    }
    assert asked["adapt"] == own


def test_the_first_weights_are_the_seeds_and_not_the_librarys(tiny: Base, recipe: Recipe) -> None:
    """Whatever random numbers were drawn before: A as PEFT draws it, B zero, in fp32."""
    import torch
    from peft import LoraConfig, get_peft_model

    from cbt_ray.training.backend.adapter import begin, exact, lora_settings

    made = []
    for _ in range(2):  # torch's own generator has moved on the second time
        model = trl_backend.load_model(tiny.folder, recipe.model_copy(update={"load_4bit": False}))
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora_settings(recipe)))
        peft = exact(adapted)
        begin(adapted, recipe.seed)
        made.append(exact(adapted))
        for name, one in exact(adapted).items():
            assert one.dtype == torch.float32
            assert one.std() == pytest.approx(float(peft[name].std()), rel=0.25)
    assert all(torch.equal(one, made[1][name]) for name, one in made[0].items())
    begin(adapted, recipe.seed + 1)
    assert any(not torch.equal(one, made[0][name]) for name, one in exact(adapted).items())


def _as_unsloth(monkeypatch: pytest.MonkeyPatch, told: list[list[int]]) -> None:
    """Have the stand-in's model answer as Unsloth's: with the logits of all places, whichever are
    asked for.
    """
    made_by = unsloth_backend.adapted_model

    def adapted(job: Job) -> Any:
        model = made_by(job)
        inner = model.base_model.model
        forward = inner.forward

        def all_places(**given: Any) -> Any:
            given.pop("logits_to_keep")
            if "packed_seq_lengths" in given:
                told.append(given.pop("packed_seq_lengths").tolist())
            return forward(**given)

        inner.forward = all_places
        return model

    monkeypatch.setattr(unsloth_backend, "adapted_model", adapted)


@pytest.mark.parametrize("batching", ["padded", "padding_free"])
def test_orpo_has_the_same_losses(
    train: Train,
    asked: dict[str, Any],
    tiny: Base,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batching: str,
) -> None:
    """And Unsloth is told how long the windows of a row are, which it does not see by the
    positions.
    """
    told: list[list[int]] = []
    _as_unsloth(monkeypatch, told)
    lines = [{**LINE, "chosen": answer, "rejected": said} for said, answer in PAIRS]
    file = written(tmp_path, *lines)
    pairs = pair(read_preferences(file), tiny.template, tiny.tokenizer, 192).pairs
    job, more = {"pairs": pairs, "train": []}, {"method": "orpo", "batching": batching}
    ours, theirs = (train(name, job=job, backend=name, **more) for name in ("trl", "unsloth"))
    assert theirs.metrics["loss"] == pytest.approx(ours.metrics["loss"], rel=1e-5)
    assert theirs.metrics["preference"]["trained"] == {
        name: pytest.approx(figures, rel=1e-4) if name != "pairs" else figures
        for name, figures in ours.metrics["preference"]["trained"].items()
    }
    lengths = {len(one.input_ids) for both in pairs for one in (both.chosen, both.rejected)}
    assert bool(told) == (batching == "padding_free")
    assert {length for batch in told for length in batch} <= lengths


@pytest.mark.parametrize(
    ("devices", "package", "lacking"),
    [
        ((), None, "a CUDA GPU and the package unsloth"),
        ((), "", "a CUDA GPU"),
        (("/dev/null",), None, "the package unsloth"),
    ],
)
def test_what_is_lacking_is_named(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], package: str | None, lacking: str
) -> None:
    monkeypatch.setattr(environment, "GPU", devices)
    monkeypatch.setattr(environment, "find_spec", lambda _name: package)
    with pytest.raises(
        InputError, match=f"backend unsloth: expected {lacking}; use `backend: trl`"
    ):
        open_backend("unsloth")
