"""What is trained: the shape of a model, and random windows and pairs."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

from cbt_ray.study.recipe import Recipe
from cbt_ray.training.mask import IGNORED, Window
from cbt_ray.training.preference import Pair
from tests.training.export.memory import Shape

STEPS, WARM = 10, 3
"""Optimizer steps of a run, and how many of them are not timed."""
PAIRED_STEPS = 6
"""With pairs: two rows each."""
BATCH = 2
"""Windows of unequal lengths a step: else there is nothing to pad."""


@dataclass(frozen=True)
class Size:
    """What is trained: a shape, and how long its windows are."""

    shape: Shape
    length: int
    exported: int
    """Layers of the model that a whole job exports: a disk of 64 GB holds no more."""
    steps: int = STEPS
    paired_steps: int = PAIRED_STEPS
    load_4bit: bool = True

    @property
    def short(self) -> Shape:
        """The shape of the model that is exported."""
        return replace(self.shape, layers=self.exported)


LARGE = Size(Shape(vocabulary=49152, layers=32), 8192, exported=8)
SMALL = Size(
    Shape(hidden=64, intermediate=128, heads=4, kv_heads=2, vocabulary=49152, layers=2), 256, 2
)
INTERPRETED = replace(SMALL, length=64, steps=3, paired_steps=3, load_4bit=False)
"""For Unsloth's kernels on a CPU, where a token takes a tenth of a second."""


def recipe_of(size: Size, part: str, folder: Path) -> Recipe:
    """The recipe of a part, as its name has it."""
    orpo = "orpo" in part
    return Recipe(
        start=str(folder),
        compare=str(folder),
        licence="none",
        backend="unsloth" if "unsloth" in part else "trl",
        method="orpo" if orpo else "sft",
        preferences="pairs.jsonl" if orpo else None,
        batching="padded" if "padded" in part else "padding_free",
        batch=1 if orpo else BATCH,
        accumulation=1,
        warmup_steps=2,
        load_4bit=size.load_4bit,
        max_steps=size.paired_steps if orpo else size.steps,
        max_length=size.length,
        checkpoint_steps=10_000,
        checkpoint_minutes=10_000,
        measured_pairs=2,
        gate_prompts=4,
    )


def windows_of(size: Size, seed: int = 7, count: int | None = None) -> list[Window]:
    """Therapist turns of 40 tokens after patient turns of 60 (shorter ones where the windows are
    short), in windows of a quarter of the length and more.
    """
    draw, found, turns = random.Random(seed), [], min(100, size.length // 8)
    for number in range(count or size.steps * BATCH):
        length = draw.randrange(size.length // 4, size.length)
        ids = [draw.randrange(100, 40_000) for _ in range(length)]
        labels = [token if at % turns >= 0.6 * turns else IGNORED for at, token in enumerate(ids)]
        found.append(Window("p", number, ids, labels))
    return found


def pairs_of(size: Size) -> list[Pair]:
    """Two answers of up to 200 tokens after each conversation, or of half a window."""
    draw, found, most = random.Random(11), [], min(200, size.length // 2)
    for window in windows_of(size, 11, size.paired_steps):
        lengths = [draw.randrange(most // 10, most) for _ in "ab"]
        answers = [[draw.randrange(100, 40_000) for _ in range(length)] for length in lengths]
        asked = window.input_ids[: size.length - max(map(len, answers))]
        found.append(
            Pair(
                *(
                    Window("p", window.session, asked + one, [IGNORED] * len(asked) + one)
                    for one in answers
                )
            )
        )
    return found
