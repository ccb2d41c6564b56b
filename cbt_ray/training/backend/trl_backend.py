"""The backend that runs anywhere: transformers, PEFT and bitsandbytes, on CUDA or on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend.adapter import begin, expect_targets, lora_settings
from cbt_ray.training.backend.arguments import one_row
from cbt_ray.training.backend.attention import attend_within
from cbt_ray.training.backend.job import Job, Report, Trained
from cbt_ray.training.backend.trainer import run
from cbt_ray.training.checkpoint import Checkpoints


class TrlBackend:
    """Loads with transformers and attaches the adapter with PEFT."""

    def train(self, job: Job, checkpoints: Checkpoints, report: Report) -> Trained:
        """Begin, or continue from the latest checkpoint, and train to the end."""
        return run(adapted_model, job, checkpoints, report)


def adapted_model(job: Job) -> Any:
    """The base model in NF4 (or in full) with a fresh adapter.

    PEFT's preparation for 4 bit is left out: it turns norms, embeddings and head into fp32, and
    with them all that flows from layer to layer. The norms compute in fp32 all the same.
    """
    from peft import LoraConfig, get_peft_model

    model = load_model(job.base.folder, job.recipe)
    if one_row(job.recipe):
        attend_within(model)
    expect_targets(model, job.recipe)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora_settings(job.recipe)))
    keep_gradients(adapted)
    return begin(adapted, job.recipe.seed)


def load_model(folder: Path, recipe: Recipe) -> Any:
    """The base model in NF4 (or in full), ready for an adapter."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    compute = compute_type()
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    extra = {"quantization_config": config} if recipe.load_4bit else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=compute, **extra)
    model.config.use_cache = False
    keep_gradients(model)
    return model


def compute_type() -> Any:
    """What the model computes in: on a CPU bf16 is the slow one."""
    import torch

    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def keep_gradients(model: Any) -> None:
    """Forbid bitsandbytes to repack 4-bit weights at the first evaluation: on AVX512-BF16 CPUs that
    path has no gradients.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
