"""What the gate measures everything by: the adapter on its base, unmerged, in fp32, and the merged
file beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.training.gate.divergence import divergence
from cbt_ray.training.gate.streamed import Streamed
from cbt_ray.training.start.base import Base


@dataclass(frozen=True)
class Reference:
    """Divergence of the merged file at each position, and its logits where llama.cpp chose a token.

    `error` says why there are none: a file that lacks a tensor, one of another shape.
    """

    divergence: list[float] = field(default_factory=list)
    logits: list[Any] = field(default_factory=list)
    error: str = ""


def refer(
    base: Base,
    adapter: Path | None,
    merged: Path,
    prompts: Sequence[list[int]],
    said: Sequence[list[int]],
    threads: int,
) -> Reference:
    """Both models over prompts and the tokens that llama.cpp said after them, in one pass of
    each.
    """
    import torch

    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        unmerged, stored = Streamed(base.folder, adapter, device), Streamed(merged, None, device)
        tails = [_known(tokens, unmerged.vocabulary)[:-1] for tokens in said] + [[]] * (
            len(prompts) - len(said)
        )
        fed = [prompt + tail for prompt, tail in zip(prompts, tails, strict=True)]
        states = unmerged.hidden(fed), stored.hidden(fed)
        nats = [float(one) for sequence in divergence(unmerged, stored, states) for one in sequence]
        chosen = [
            state[-len(tail) - 1 :]
            for state, tail in zip(states[1][: len(said)], tails, strict=False)
        ]
        return Reference(nats, [one.cpu().numpy() for one in stored.logits(chosen)])
    except InputError as error:
        return Reference(error=str(error))


def _known(tokens: list[int], vocabulary: int) -> list[int]:
    """The tokens before the first that the base has no row for.

    Another model's GGUF may say such a one.
    """
    beyond = (index for index, token in enumerate(tokens) if token >= vocabulary)
    return tokens[: next(beyond, len(tokens))]
