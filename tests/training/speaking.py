"""A tiny model that speaks and ends its turns, made in seconds: what trains, merges, exports and
passes the gate as the large ones do, where a test is about the stage and not about the model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cbt_ray.llm import scripted
from cbt_ray.training.environment import settle
from tests.training.pieces import PREPEND, write_model, write_tokenizer

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,  # vLLM on a CPU takes heads of 32 and wider
    "num_key_value_heads": 1,
    "max_position_embeddings": 8192,
}
SAID = (*scripted._THERAPIST, *scripted._PATIENT)
"""What the scripted model says: the words that the dataset is made of."""
STEPS, ROWS, LENGTH = 80, 8, 64
IGNORED = -100


Row = Callable[[Any, random.Random], tuple[list[int], list[int]]]
"""Pieces of a vocabulary, and a source of chance -> tokens and labels."""


def write_speaking(
    folder: Path, text: Sequence[str] = SAID * 5, row: Row | None = None, steps: int = STEPS
) -> Path:
    """A Hugging Face folder: the tiny model after some seconds of plain torch, and its licence.

    `row`: what it sees, all rows of one length; turns in the form of the template without it.
    """
    settle()
    import torch
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder, SHAPE, text, vocabulary=700)
    write_tokenizer(folder, PREPEND, None)
    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer, draw = torch.optim.AdamW(model.parameters(), lr=3e-3), random.Random(7)
    for _ in range(steps):
        rows = [(row or _row)(pieces, draw) for _ in range(ROWS)]
        ids, labels = (torch.tensor(part) for part in zip(*rows, strict=True))
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    (folder / "LICENSE").write_text("Everybody may do with this model whatever they like.")
    return folder


def _row(pieces: Any, draw: random.Random) -> tuple[list[int], list[int]]:
    """Turns in the form of the template; a loss on the answers and their ends alone."""
    ids, labels = [1], [IGNORED]
    while len(ids) < LENGTH:
        for opens, closes in (([3], [4]), ([], [2])):
            words = pieces.encode(" ".join(draw.sample(SAID, draw.randint(1, 2))))
            turn = [*opens, *words, *closes]
            ids += turn
            labels += turn if closes == [2] else [IGNORED] * len(turn)
    return ids[:LENGTH], labels[:LENGTH]
