"""The loss on windows that are measured: per supervised token, without a trace in weights,
gradients or random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from threading import Event
from typing import Any

from cbt_ray.training.mask import IGNORED, Window

NEVER = Event()
CHUNK = 256
"""Tokens whose logits are held at once: a vocabulary of 128,256 takes half a megabyte a token."""


def mean_loss(model: Any, windows: Sequence[Window], broken_off: Event = NEVER) -> float | None:
    """Mean loss per supervised token, up to where it is broken off; None where there is none."""
    import torch

    total, count = 0.0, 0
    training = model.training
    model.eval()
    with torch.no_grad():
        for window in takewhile(lambda _: not broken_off.is_set(), windows):
            labels = torch.tensor(window.labels[1:], device=model.device)
            at = (labels != IGNORED).nonzero()[:, 0]
            total += _summed(
                model, torch.tensor([window.input_ids], device=model.device), at, labels
            )
            count += len(at)
    model.train(training)
    return total / count if count else None


def _summed(model: Any, ids: Any, at: Any, labels: Any) -> float:
    """The sum over these places: the hidden states once, then the head, some tokens at a time."""
    import torch

    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden, head = (
        whole.get_decoder()(input_ids=ids).last_hidden_state[0],
        whole.get_output_embeddings(),
    )
    losses = (
        torch.nn.functional.cross_entropy(head(hidden[some]).float(), labels[some], reduction="sum")
        for some in at.split(CHUNK)
    )
    return sum(float(loss) for loss in losses)
