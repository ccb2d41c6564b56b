"""Tuned: an adapter that was trained on a dataset, or on pairs, and what was measured meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.gpu import require_gpu, unseen_gpu
from cbt_ray.study.recipe import Recipe, pairs_of
from cbt_ray.study.study import TODAY
from cbt_ray.training.backend import open_backend
from cbt_ray.training.backend.epochs import measured_windows
from cbt_ray.training.backend.job import Job, Report
from cbt_ray.training.backend.memory import release
from cbt_ray.training.checkpoint import Checkpoints
from cbt_ray.training.clock import Clock
from cbt_ray.training.dataset import Example, Splits, read
from cbt_ray.training.environment import settle, versions
from cbt_ray.training.export.gguf import convert_vocabulary, known_to_llama_cpp
from cbt_ray.training.export.merge import without_weights
from cbt_ray.training.gate.gate import foresee
from cbt_ray.training.gate.prompts import Prompt, limit_of, prompts_of
from cbt_ray.training.gate.verdict import Verdict
from cbt_ray.training.mask import Masked, Window, mask
from cbt_ray.training.measured import UNSEEN
from cbt_ray.training.preference import Paired, pair, read_preferences
from cbt_ray.training.start.base import Base, open_base

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth")


@dataclass(frozen=True)
class Tuned:
    """An adapter, what it is on, and what was measured (JSON)."""

    base: Base
    adapter: Path
    answer_tokens: int
    """Within how many an answer of the model has to end."""
    metrics: dict[str, Any]


class Unfit(Exception):
    """No training passes the parity gate, by what needs no weights of it: the base was not
    trained.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(", ".join(verdict.failed))
        self.verdict = verdict


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
    today: str = TODAY.isoformat(),
) -> Tuned:
    """Train on a dataset's folder (or a file of preference pairs, beside which others may be held
    out).

    Continues from the latest checkpoint; raises Owed when SIGTERM ended it after one, Unfit where
    it was not begun. The checkpoints stay: call `clear_checkpoints` when the result is in the
    store. `say` hears the name of each part as it begins, `today` is the date that a chat
    template gets.
    """
    settle()
    require_gpu()
    if hidden := unseen_gpu():
        say(hidden)
    release()  # of a candidate that diverged: whoever caught that no longer holds its frames
    backend, clock = open_backend(recipe.backend), Clock(say)
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
    clock("tokens")
    prompts = prompts_of(splits, base, recipe.gate_prompts)
    with known_to_llama_cpp("start"):
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
    own = {
        **trained.metrics,
        "measured_windows": {split: len(found) for split, found in windows.items()},
        **_of_masked(train),
        "examples": splits.counts,
        "base_sha256": base.digest,
        "parts_seconds": clock.seconds,
        "versions": versions(LIBRARIES),
    }
    own |= {"pairs": len(paired.pairs), "pairs_left_out": paired.left_out} if preferences else {}
    return Tuned(base, trained.adapter, limit_of(splits, paired.pairs, base), own)


def _foreseen(base: Base, prompts: Sequence[Prompt], folder: Path, threads: int) -> Verdict:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = convert_vocabulary(
        without_weights(base, folder), folder / "vocabulary.gguf", threads
    )
    return foresee(base, prompts, vocabulary, threads)


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
