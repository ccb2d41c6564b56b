"""A recipe in the words of the trainers: one set of arguments for both backends and both
methods.
"""

from __future__ import annotations

import math
from typing import Any

from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend.job import Job

LOSS = {"trl": "chunked_nll", "unsloth": "nll"}
"""The same sum: TRL's own, without the logits of tokens that have no loss, and the one that Unsloth
puts its kernel behind."""


def checkpoints_gradients(recipe_length: int, cuda: bool) -> bool:
    """Whether activations are computed a second time instead of kept: always on a GPU, for long
    windows on a CPU.
    """
    return cuda or recipe_length > 2048


def one_row(recipe: Recipe) -> bool:
    """Whether the windows of a batch lie one after the other in one row; one alone is a row as it
    is.
    """
    return recipe.batching == "padding_free" and (recipe.batch > 1 or recipe.method == "orpo")


def epoch_steps(job: Job) -> int:
    """Optimizer steps of one time through what is trained on."""
    recipe, examples = job.recipe, len(job.pairs if job.recipe.method == "orpo" else job.train)
    return math.ceil(math.ceil(examples / recipe.batch) / recipe.accumulation)


def total_steps(job: Job) -> int:
    """Optimizer steps of the whole training."""
    return job.recipe.max_steps or max(1, math.ceil(job.recipe.epochs * epoch_steps(job)))


def warmup_steps(job: Job) -> int:
    """Of these, the steps on which the learning rate rises; a share of them never takes all."""
    given, steps = job.recipe.warmup_steps, total_steps(job)
    return int(given) if given >= 1 else min(math.ceil(given * steps), steps - 1)


def sft_arguments(job: Job) -> Any:
    """Of TRL's SFTTrainer: it is fed tokens and labels, and touches neither."""
    from trl import SFTConfig

    return SFTConfig(
        **_shared(job),
        max_length=None,
        packing=False,
        padding_free=one_row(job.recipe),
        dataset_kwargs={"skip_prepare_dataset": True},
        loss_type=LOSS[job.recipe.backend],
    )


def orpo_arguments(job: Job) -> Any:
    """Of TRL's ORPOTrainer, whose defaults would cut at 1024 tokens and take the recipe's dropout
    away.
    """
    from trl.experimental.orpo import ORPOConfig

    return ORPOConfig(
        **{**_shared(job), "include_num_input_tokens_seen": "no", "remove_unused_columns": False},
        beta=job.recipe.orpo_beta,
        max_length=job.recipe.max_length,
        disable_dropout=False,
    )


def _shared(job: Job) -> dict[str, Any]:
    import torch

    recipe, cuda = job.recipe, torch.cuda.is_available()
    return {
        "output_dir": str(job.work / "trainer"),
        "per_device_train_batch_size": recipe.batch,
        "gradient_accumulation_steps": recipe.accumulation,
        "max_steps": total_steps(job),
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": warmup_steps(job),
        "weight_decay": recipe.weight_decay,
        "optim": recipe.optimizer,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "gradient_checkpointing": checkpoints_gradients(recipe.max_length, cuda),
        "bf16": cuda,
        "use_cpu": not cuda,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "all",
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint_steps,
        "save_total_limit": 2,
        "eval_strategy": "no",
        "report_to": "none",
        "push_to_hub": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
