"""vLLM with a base model and an adapter, where it is installed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

SAID = 32
"""Tokens of an answer."""
RANK = 16
Ids = list[list[int]]


def agreement(base: Path, adapter: Path, prompts: Ids) -> dict[str, Any]:
    """Tokens a second of base and adapter, and the share of their tokens that transformers finds
    likeliest, too; an adapter that is not applied says what the base says.
    """
    from vllm import LLM
    from vllm.lora.request import LoRARequest

    server = LLM(
        str(base),
        enable_lora=True,
        max_lora_rank=RANK,
        gpu_memory_utilization=0.4,
        enforce_eager=True,
        max_model_len=max(map(len, prompts)) + SAID,
    )
    said = {
        "base": _said(server, None, prompts),
        "adapter": _said(server, LoRARequest("tuned", 1, str(adapter)), prompts),
    }
    found: dict[str, Any] = {"same_answers": said["base"][0] == said["adapter"][0]}
    for name, (answers, speed) in said.items():
        model = _model(base, adapter if name == "adapter" else None)
        share = _likeliest(model, prompts, answers)
        found[name] = {"tokens_per_second": round(speed, 1), "likeliest": round(share, 4)}
    return found


def _said(server: Any, adapter: Any, prompts: Ids) -> tuple[Ids, float]:
    from vllm import SamplingParams

    began = time.monotonic()
    outputs = server.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts],
        SamplingParams(temperature=0, max_tokens=SAID, ignore_eos=True),
        lora_request=adapter,
    )
    answers = [list(one.outputs[0].token_ids) for one in outputs]
    return answers, sum(map(len, answers)) / (time.monotonic() - began)


def _model(base: Path, adapter: Path | None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from cbt_ray.training.backend.trl_backend import compute_type

    model = AutoModelForCausalLM.from_pretrained(base, dtype=compute_type())
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model if adapter is None else PeftModel.from_pretrained(model, str(adapter))


def _likeliest(model: Any, prompts: Ids, answers: Ids) -> float:
    import torch

    right = total = 0
    with torch.no_grad():
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = torch.tensor([prompt + answer], device=model.device)
            best = model(input_ids=ids, logits_to_keep=len(answer) + 1).logits[0, :-1].argmax(-1)
            right += int((best == ids[0, -len(answer) :]).sum())
            total += len(answer)
    return right / total
