"""The adapter that is trained: its settings, and the weights it begins with, which the recipe's
seed alone decides.
"""

from __future__ import annotations

import math
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe


def lora_settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe's adapter in PEFT's words."""
    lora = recipe.lora
    return {
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": list(lora.targets),
    }


def expect_targets(model: Any, recipe: Recipe) -> None:
    """Raise InputError where a target of the recipe is no linear layer of the model: PEFT passes
    over one beside others.
    """
    import torch

    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for target in recipe.lora.targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            known = sorted({name.rpartition(".")[2] for name in linear})
            raise InputError(
                f"lora.targets: expected linear layers of the model, some of {', '.join(known)}, "
                f"found {target!r}"
            )


def begin(adapted: Any, seed: int) -> Any:
    """Give a fresh adapter PEFT's first weights (A uniform within 1/sqrt(inputs), B zero), in fp32.

    Drawn on the CPU in the order of names, so they are the same on every machine and behind every
    backend.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    for name, one in sorted(adapted.named_parameters()):
        if not one.requires_grad:
            continue
        if "lora_A" in name:
            bound = 1 / math.sqrt(one.shape[1])
            one.data = torch.empty(one.shape).uniform_(-bound, bound, generator=draw).to(one.device)
        elif "lora_B" in name:
            one.data = torch.zeros(one.shape, device=one.device)
    return adapted


def exact(adapted: Any) -> dict[str, Any]:
    """Copies of the adapter's weights."""
    return {
        name: one.detach().clone() for name, one in adapted.named_parameters() if one.requires_grad
    }


def restore(adapted: Any, weights: dict[str, Any]) -> None:
    """Put them back: TRL turns the adapter of a 4-bit model into bf16, and an lr of 2e-4 gets lost
    in its rounding.
    """
    for name, one in adapted.named_parameters():
        if name in weights:
            one.data = weights[name].to(one.device)
