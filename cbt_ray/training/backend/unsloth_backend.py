"""The backend for CUDA with hand-written kernels: Unsloth loads the model and attaches the adapter,
the rest is as ever.

Unsloth rewrites parts of transformers, PEFT and TRL as it is imported, so it must come before they
are used.
"""

from __future__ import annotations

from typing import Any

from cbt_ray.training.backend.adapter import begin, expect_targets, lora_settings
from cbt_ray.training.backend.job import Job, Report, Trained
from cbt_ray.training.backend.trainer import run
from cbt_ray.training.backend.trl_backend import compute_type
from cbt_ray.training.checkpoint import Checkpoints
from cbt_ray.training.environment import settle


class UnslothBackend:
    """Loads and attaches with Unsloth's FastLanguageModel."""

    def train(self, job: Job, checkpoints: Checkpoints, report: Report) -> Trained:
        """Begin, or continue from the latest checkpoint, and train to the end."""
        settle()
        import unsloth  # noqa: F401  before trl and transformers

        return run(adapted_model, job, checkpoints, report)


def adapted_model(job: Job) -> Any:
    """The base model in NF4 (or in bf16) with a fresh adapter.

    Its own tokenizer is left aside: masks, special tokens and template are those of the base.
    Unsloth cuts what is longer than `max_seq_length`, which no window is.
    """
    from unsloth import FastLanguageModel

    recipe = job.recipe
    model, _ = FastLanguageModel.from_pretrained(
        str(job.base.folder),
        max_seq_length=recipe.max_length,
        load_in_4bit=recipe.load_4bit,
        dtype=compute_type(),
    )
    expect_targets(model, recipe)
    adapted = FastLanguageModel.get_peft_model(
        model,
        use_gradient_checkpointing="unsloth",
        random_state=recipe.seed,
        **lora_settings(recipe),
    )
    return begin(adapted, recipe.seed)
