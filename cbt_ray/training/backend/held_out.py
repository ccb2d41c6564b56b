"""The loss on held-out windows: per supervised token, without a trace in weights, gradients or random numbers."""

from __future__ import annotations

from typing import Any

from cbt_ray.training.mask import IGNORED, Window


def held_out_loss(model: Any, windows: list[Window]) -> float | None:
    """Mean loss per supervised token; None where nothing is held out."""
    import torch

    total, count = 0.0, 0
    training = model.training
    model.eval()
    with torch.no_grad():
        for window in windows:
            labels = torch.tensor(window.labels[1:], device=model.device)
            at = (labels != IGNORED).nonzero()[:, 0]
            ids = torch.tensor([window.input_ids], device=model.device)
            logits = model(input_ids=ids, logits_to_keep=at).logits[0]
            if len(logits) != len(at):  # Unsloth gives them all
                logits = logits[at]
            total += float(torch.nn.functional.cross_entropy(logits.float(), labels[at], reduction="sum"))
            count += len(at)
    model.train(training)
    return total / count if count else None
