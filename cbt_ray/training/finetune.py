"""The two things that the finetune stage asks for: a tuned model, and the model it is compared with, exported the same way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from cbt_ray.llm.request import Message
from cbt_ray.study.model import Recipe
from cbt_ray.training.backend import Job, Report, open_backend
from cbt_ray.training.base import Base, open_base
from cbt_ray.training.checkpoint import Checkpoints
from cbt_ray.training.dataset import Example, alpaca, read
from cbt_ray.training.environment import settle
from cbt_ray.training.gguf import Gguf, check, convert
from cbt_ray.training.mask import Masked, Window, mask
from cbt_ray.training.merge import merge

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "gguf", "llama_cpp_python")
PROMPTS = 3
"""Held-out prompts on which an exported model is checked."""
PROBE = (
    Message("system", "You are a therapist."),
    Message("user", "I slept 3 hours, maybe 4.5 — it's 2 am again…\n\nWhat's the point? :-("),
)
"""Checks the tokenizer (digits, apostrophes, line breaks, other than ASCII) where no dataset is at hand."""


@dataclass(frozen=True)
class Tuned:
    """A tuned model: its adapter, its GGUF, and what was measured (JSON)."""

    adapter: Path
    gguf: Path
    sha256: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """The model to compare with: its GGUF and what was measured (JSON)."""

    gguf: Path
    sha256: str
    metrics: dict[str, Any]


T = TypeVar("T")


@dataclass
class _Clock:
    """Seconds of each part, and a word to whoever waits when one begins."""

    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, part: str, work: Callable[[], T]) -> T:
        """Do a part of the work."""
        self.say(part)
        began = time.monotonic()
        made = work()
        self.seconds[part] = round(time.monotonic() - began, 1)
        return made


def tune(
    recipe: Recipe,
    dataset: Path,
    work: Path,
    checkpoints: Checkpoints,
    report: Report,
    *,
    threads: int = 2,
    held_out_windows: int | None = None,
    say: Callable[[str], None] = lambda _part: None,
) -> Tuned:
    """Train on a dataset's folder and export: adapter -> merged with the 16- or 32-bit base -> GGUF, checked in llama.cpp.

    Continues from the latest checkpoint; raises Owed when SIGTERM ended it behind one. The checkpoints stay: call
    `checkpoints.clear()` when the result is in the store. `held_out_windows` bounds how many windows the loss before and after
    is taken on, `say` hears the name of each part as it begins.
    """
    settle()
    backend, clock = open_backend(recipe.backend), _Clock(say)
    splits = read(dataset)
    base = clock.time("base", lambda: open_base(recipe.start, work))
    train, held_out = clock.time("mask", lambda: tuple(_masked(part, base, recipe) for part in (splits.train, splits.held_out)))
    windows = _spread(held_out.windows, held_out_windows)
    job = Job(recipe, base, train.windows, windows, work / "tuned", threads)
    trained = clock.time("train", lambda: backend.train(job, checkpoints, report))
    gguf, checks = _export(recipe, base, trained.adapter, _prompts(splits.held_out, base, recipe), job.work, threads, clock)
    own = {**trained.metrics, "held_out_windows": len(windows), **_of_masked(train), "examples": splits.counts}
    return Tuned(trained.adapter, gguf.path, gguf.sha256, {**own, **checks, **_made_by(recipe, base, clock)})


def export_compared(recipe: Recipe, work: Path, *, threads: int = 2, say: Callable[[str], None] = lambda _part: None) -> Exported:
    """Export the model that the tuned one is compared with, by the same rounding, converter, quantization and template."""
    settle()
    clock = _Clock(say)
    base = clock.time("base", lambda: open_base(recipe.compare, work))
    gguf, checks = _export(recipe, base, None, [], work / "compared", threads, clock)
    return Exported(gguf.path, gguf.sha256, {**checks, **_made_by(recipe, base, clock)})


def _export(
    recipe: Recipe, base: Base, adapter: Path | None, prompts: Sequence[str], folder: Path, threads: int, clock: _Clock
) -> tuple[Gguf, dict[str, Any]]:
    """Merge, convert and check; the merged folder is dropped, the GGUF stays."""
    merged = clock.time("merge", lambda: merge(base, adapter, folder / "merged"))
    target = folder / f"model-{recipe.quantization}.gguf"
    gguf = clock.time("convert", lambda: convert(merged, target, recipe.quantization, threads))
    shutil.rmtree(merged)
    asked = [*prompts, base.template.render(PROBE, answer=True)]
    checks = clock.time("check", lambda: check(gguf.path, base, asked, threads, answers=len(prompts)))
    return gguf, checks


def _masked(examples: list[Example], base: Base, recipe: Recipe) -> Masked:
    return mask(examples, base.template, base.tokenizer, recipe.max_length)


def _spread(windows: list[Window], most: int | None) -> list[Window]:
    """At most so many windows, evenly over all of them."""
    if most is None or len(windows) <= most:
        return windows
    return [windows[index * len(windows) // most] for index in range(most)]


def _prompts(examples: list[Example], base: Base, recipe: Recipe) -> list[str]:
    """What stands in front of a held-out therapist turn, for a few examples, each at another turn."""
    prompts = []
    for number, example in enumerate(examples[:PROMPTS]):
        prompt = _prompt(example, number, base)
        if len(base.tokenizer.encode(prompt)[0]) > recipe.max_length:
            prompt = _prompt(example, 0, base)
        prompts.append(prompt)
    return prompts


def _prompt(example: Example, number: int, base: Base) -> str:
    if "messages" not in example:
        return alpaca({**example, "response": ""})
    messages = [Message(one["role"], one["content"]) for one in example["messages"]]
    turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return base.template.render(messages[: turns[min(number, len(turns) - 1)]], answer=True)


def _of_masked(masked: Masked) -> dict[str, Any]:
    return {
        "windows": len(masked.windows),
        "tokens": masked.tokens,
        "supervised_tokens": masked.supervised,
        "supervised_share": round(masked.share, 4),
        "longest": masked.longest,
        "turns_left_out": masked.left_out,
    }


def _made_by(recipe: Recipe, base: Base, clock: _Clock) -> dict[str, Any]:
    return {
        "base_sha256": base.digest,
        "quantization": recipe.quantization,
        "parts_seconds": clock.seconds,
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
