"""The two things that the finetune stage asks for: a tuned model, and the model it is compared
with, exported the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe, pairs_of
from cbt_ray.study.study import TODAY
from cbt_ray.training.backend import open_backend
from cbt_ray.training.backend.epochs import measured_windows
from cbt_ray.training.backend.job import Job, Report
from cbt_ray.training.backend.memory import release
from cbt_ray.training.checkpoint import Checkpoints
from cbt_ray.training.dataset import Example, Splits, read
from cbt_ray.training.environment import settle
from cbt_ray.training.export.export import Exported, export
from cbt_ray.training.export.front import Front
from cbt_ray.training.export.gguf import NAMELESS, NotConvertible, convert_vocabulary
from cbt_ray.training.export.merge import without_weights
from cbt_ray.training.gate.gate import foresee, gate
from cbt_ray.training.gate.heard import LIMIT
from cbt_ray.training.gate.prompts import Prompt, limit_of, prompts_of
from cbt_ray.training.gate.verdict import Verdict
from cbt_ray.training.mask import Masked, Window, mask
from cbt_ray.training.measured import UNSEEN
from cbt_ray.training.preference import Paired, pair, read_preferences
from cbt_ray.training.start.base import Base, open_base

LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "unsloth",
    "gguf",
    "llama_cpp_python",
)


@dataclass(frozen=True)
class Made:
    """A model as it is served, what the parity gate says of it, and what was measured (JSON).

    `adapter` of a tuned one.
    """

    base: Base
    exported: Exported
    verdict: Verdict
    metrics: dict[str, Any]
    adapter: Path | None = None


class Unfit(Exception):
    """No training passes the parity gate, by what needs no weights of it: the base was not
    trained.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(", ".join(verdict.failed))
        self.verdict = verdict


@dataclass
class _Clock:
    """Seconds of each part, and a word to whoever waits when one begins."""

    say: Callable[[str], None]
    _began: list[tuple[str, float]] = field(default_factory=list)

    def __call__(self, part: str) -> None:
        """A part begins, and the one before it ends."""
        self.say(part)
        self._began.append((part, time.monotonic()))

    @property
    def seconds(self) -> dict[str, float]:
        """Of each part; the last one ends now."""
        ends = [at for _, at in self._began[1:]] + [time.monotonic()]
        return {part: round(end - at, 1) for (part, at), end in zip(self._began, ends, strict=True)}


def tune(
    recipe: Recipe,
    dataset: Path,
    work: Path,
    checkpoints: Checkpoints,
    report: Report,
    *,
    preferences: Path | None = None,
    held_out_preferences: Path | None = None,
    threads: int = 2,
    say: Callable[[str], None] = lambda _part: None,
    front: Front = NAMELESS,
    today: str = TODAY.isoformat(),
) -> Made:
    """Train on a dataset's folder (or a file of preference pairs, beside which others may be held
    out), export in all forms, and judge the export.

    Continues from the latest checkpoint; raises Owed when SIGTERM ended it after one, Unfit where
    it was not begun. The checkpoints stay: call `clear_checkpoints` when the result is in the
    store. `say` hears the name of each part as it begins;
    `front` is what the GGUF says of itself, `today` what a chat template is told.
    """
    settle()
    backend, clock = open_backend(recipe.backend), _Clock(say)
    splits = read(dataset)
    clock("base")
    base = open_base(
        recipe.start, work, recipe.chat_template, turn_end=recipe.turn_end, today=today
    )
    clock("mask")
    paired = _paired(preferences, base, recipe)
    unseen = _paired(held_out_preferences, base, recipe, measured_only=True)
    train = Masked(paired.windows) if paired.pairs else _masked(splits.train, base, recipe)
    windows = _measured(splits, base, recipe, train)
    prompts = prompts_of(splits, base, recipe.gate_prompts)
    clock("tokens")
    with _known_to_llama_cpp("start"):
        foreseen = _foreseen(base, prompts, work / "vocabulary", threads)
    if foreseen.failed:
        raise Unfit(foreseen)
    clock("train")
    job = Job(
        *(recipe, base, train.windows, windows, work / "tuned", threads),
        *(paired.pairs, unseen.pairs, say),
    )
    trained = backend.train(job, checkpoints, report)
    release()
    with _known_to_llama_cpp("start"):
        exported = export(base, trained.adapter, recipe, job.work, threads, clock, front)
    clock("check")
    of = judge_apart if recipe.backend == "unsloth" else judge
    verdict = of(
        base, trained.adapter, exported, prompts, threads, limit_of(splits, paired.pairs, base)
    )
    own = {
        **trained.metrics,
        "measured_windows": {split: len(found) for split, found in windows.items()},
        **_of_masked(train),
        "examples": splits.counts,
    }
    own |= {"pairs": len(paired.pairs), "pairs_left_out": paired.left_out} if preferences else {}
    return Made(
        base, exported, verdict, {**own, **_made_by(recipe, base, verdict, clock)}, trained.adapter
    )


@contextmanager
def _known_to_llama_cpp(field: str) -> Iterator[None]:
    try:
        yield
    except NotConvertible as error:
        raise InputError(f"{field}: {error}") from error


def _foreseen(base: Base, prompts: Sequence[Prompt], folder: Path, threads: int) -> Verdict:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = convert_vocabulary(
        without_weights(base, folder), folder / "vocabulary.gguf", threads
    )
    return foresee(base, prompts, vocabulary, threads)


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
    clock = _Clock(say)
    clock("base")
    base = open_base(
        recipe.compare, work, recipe.chat_template, turn_end=recipe.turn_end, today=today
    )
    with _known_to_llama_cpp("compare"):
        exported = export(base, None, recipe, work / "compared", threads, clock)
    clock("check")
    verdict = judge(base, None, exported, [], threads)
    return Made(base, exported, verdict, _made_by(recipe, base, verdict, clock))


def judge(
    base: Base,
    adapter: Path | None,
    exported: Exported,
    prompts: Sequence[Prompt],
    threads: int,
    limit: int = LIMIT,
) -> Verdict:
    """What the parity gate says of an export; an answer has to end within `limit` tokens."""
    files = exported.merged, exported.f16.path, exported.gguf.path
    return gate(base, adapter, *files, prompts, threads, tuned=adapter is not None, limit=limit)


def judge_apart(
    base: Base,
    adapter: Path | None,
    exported: Exported,
    prompts: Sequence[Prompt],
    threads: int,
    limit: int = LIMIT,
) -> Verdict:
    """The same in a process of its own: Unsloth rewrites the models' classes, by which the
    reference would run here.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(judge, base, adapter, exported, prompts, threads, limit).result()


def _masked(examples: list[Example], base: Base, recipe: Recipe) -> Masked:
    return mask(examples, base.template, base.tokenizer, recipe.max_length, recipe.loss)


def _measured(splits: Splits, base: Base, recipe: Recipe, train: Masked) -> dict[str, list[Window]]:
    """The windows whose loss is measured.

    Where pairs are trained on, the training set is the text that they were made of; of a file of
    them nobody knows it.
    """
    found = {split: _masked(getattr(splits, split), base, recipe).windows for split in UNSEEN}
    if recipe.method == "sft":
        found["train"] = train.windows
    elif pairs_of(recipe) is not None:
        found["train"] = _masked(splits.train, base, recipe).windows
    return measured_windows(recipe, found)


def _paired(
    file: Path | None, base: Base, recipe: Recipe, *, measured_only: bool = False
) -> Paired:
    if file is None:
        return Paired([])
    known = read_preferences(file)
    return pair(
        *(known, base.template, base.tokenizer, recipe.max_length), measured_only=measured_only
    )


def _of_masked(masked: Masked) -> dict[str, Any]:
    return {
        "windows": len(masked.windows),
        "tokens": masked.tokens,
        "supervised_tokens": masked.supervised,
        "supervised_share": round(masked.share, 4),
        "longest": masked.longest,
        "turns_left_out": masked.left_out,
    }


def _made_by(recipe: Recipe, base: Base, verdict: Verdict, clock: _Clock) -> dict[str, Any]:
    return {
        "gate": verdict.to_json()["checks"],
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
