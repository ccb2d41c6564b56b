"""Made: a model as it is served, tuned or as it is, and what the parity gate says of it.

Nothing here needs an accelerator, nor what trained the adapter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe
from cbt_ray.study.study import TODAY
from cbt_ray.training.clock import Clock
from cbt_ray.training.dataset import read
from cbt_ray.training.environment import settle, versions
from cbt_ray.training.export.export import Exported, export
from cbt_ray.training.export.front import Front
from cbt_ray.training.export.gguf import NAMELESS, known_to_llama_cpp
from cbt_ray.training.gate.gate import gate
from cbt_ray.training.gate.heard import LIMIT
from cbt_ray.training.gate.prompts import Prompt, prompts_of
from cbt_ray.training.gate.verdict import Verdict
from cbt_ray.training.start.base import Base, open_base

LIBRARIES = ("torch", "transformers", "gguf", "llama_cpp_python")
REWRITES = "unsloth"
"""Rewrites the models' classes, once it is imported, by which the gate's reference runs."""


@dataclass(frozen=True)
class Adapter:
    """What training hands over."""

    folder: Path
    base_sha256: str
    """Of what it was trained on."""
    answer_tokens: int
    """Within how many an answer has to end."""


@dataclass(frozen=True)
class Made:
    """An exported model, what the parity gate says of it, and what was measured (JSON)."""

    base: Base
    exported: Exported
    verdict: Verdict
    metrics: dict[str, Any]


def export_tuned(
    recipe: Recipe,
    adapter: Adapter,
    dataset: Path,
    work: Path,
    *,
    threads: int = 2,
    say: Callable[[str], None] = lambda _part: None,
    front: Front = NAMELESS,
    today: str = TODAY.isoformat(),
) -> Made:
    """Export an adapter in all forms, and judge the export on prompts of a dataset's folder.

    `say` hears the name of each part as it begins; `front` is what the GGUF says of itself, `today`
    the date that a chat template gets.
    """
    settle()
    clock = Clock(say)
    clock("base")
    base = open_base(
        recipe.start, work, recipe.chat_template, turn_end=recipe.turn_end, today=today
    )
    if base.digest != adapter.base_sha256:
        raise InputError(
            f"start: expected the weights that the adapter was trained on, SHA-256 "
            f"{adapter.base_sha256}, found {base.digest}"
        )
    with known_to_llama_cpp("start"):
        exported = export(base, adapter.folder, recipe, work / "tuned", threads, clock, front)
    clock("check")
    prompts = prompts_of(read(dataset), base, recipe.gate_prompts)
    verdict = judge(base, adapter.folder, exported, prompts, threads, adapter.answer_tokens)
    return Made(base, exported, verdict, _metrics(recipe, base, verdict, clock))


def export_compared(
    recipe: Recipe,
    work: Path,
    *,
    threads: int = 2,
    say: Callable[[str], None] = lambda _part: None,
    today: str = TODAY.isoformat(),
) -> Made:
    """Export the model that the tuned one is compared with, by the same rounding, converter,
    quantization and template.
    """
    settle()
    clock = Clock(say)
    clock("base")
    base = open_base(
        recipe.compare, work, recipe.chat_template, turn_end=recipe.turn_end, today=today
    )
    with known_to_llama_cpp("compare"):
        exported = export(base, None, recipe, work / "compared", threads, clock)
    clock("check")
    verdict = judge(base, None, exported, [], threads)
    return Made(base, exported, verdict, _metrics(recipe, base, verdict, clock))


def judge(
    base: Base,
    adapter: Path | None,
    exported: Exported,
    prompts: Sequence[Prompt],
    threads: int,
    limit: int = LIMIT,
) -> Verdict:
    """What the parity gate says of an export; an answer has to end within `limit` tokens.

    Said by a process of its own where this one has trained with what rewrites models.
    """
    files = exported.merged, exported.f16.path, exported.gguf.path
    tuned = adapter is not None
    ask = partial(gate, base, adapter, *files, prompts, threads, tuned=tuned, limit=limit)
    if sys.modules.get(REWRITES) is None:
        return ask()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(ask).result()


def _metrics(recipe: Recipe, base: Base, verdict: Verdict, clock: Clock) -> dict[str, Any]:
    return {
        "gate": verdict.to_json()["checks"],
        "base_sha256": base.digest,
        "quantization": recipe.quantization,
        "parts_seconds": clock.seconds,
        "versions": versions(LIBRARIES),
    }
