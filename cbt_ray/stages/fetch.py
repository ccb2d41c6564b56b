"""Fetch: the weights that recipes name by a hub id, brought into the store.

Needs a network and no accelerator.

Training reads them from the store and asks nobody, so that no accelerator waits for a download.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cbt_ray.errors import Owed
from cbt_ray.llm.gguf_file import DEFAULT_REVISION
from cbt_ray.study.model import is_hub_id
from cbt_ray.training.start.hub import Hub, HubFile, Snapshot, WrongRevision
from cbt_ray.training.start.weights import Weights, complete, fetch_weights, link
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.inputs import at, check_model_name, check_recipes, try_template
from cbt_ray.work.workplace import cache_folder, local_file, locked

if TYPE_CHECKING:
    from cbt_ray.work.progress import Progress

EVERY_S = 5.0
"""Seconds between two lines about a file that is on its way."""

Pair = tuple[str, str]
"""A model of the study and a variant of it."""


def fetch(bench: Bench, model: str | None = None) -> None:
    """Bring into the store what is owed of the weights, of one model or of all.

    Asks nobody where nothing is.
    """
    pairs = owed_pairs(bench, model)
    owed = {
        name: pair
        for pair, name in _hub_ids(bench, pairs).items()
        if complete(bench.store, *name) is None
    }
    if owed:
        _bring(bench, pairs, owed)
    for (model_, variant), weights in required_weights(bench, pairs).items():
        if variant == "tuned":
            _try_template(bench, model_, weights)


def _bring(bench: Bench, pairs: list[Pair], owed: dict[tuple[str, str], Pair]) -> None:
    bench.check_store()
    check_recipes(bench.study, pairs, train_here=False)
    hub = Hub.from_environment()
    for (name, revision), pair in owed.items():
        arrivals = cache_folder() / "arriving" / name.replace("/", "--")
        with (
            at(bench.study, _field(pair, "start", "compare")),
            locked(arrivals.with_name(f"{arrivals.name}.lock")),
        ):
            try:
                weights = fetch_weights(
                    bench.store, hub, name, revision, arrivals, _Arrivals(bench.progress)
                )
            except WrongRevision:
                with at(bench.study, _revision_field(bench, pair)):
                    raise
        bench.progress.say(
            f"fetch: {name}: all {len(weights.files)} files of commit {weights.commit} are in the "
            "store"
        )


def _try_template(bench: Bench, model: str, weights: Weights) -> None:
    """Refuse a chat template that cannot be trained with as soon as it is here: the courses come
    after it.
    """
    small = {
        name: blob
        for name, blob in weights.files.items()
        if name.startswith(("tokenizer", "chat_template"))
    }
    with tempfile.TemporaryDirectory(prefix="cbt-ray-") as folder:
        link(
            replace(weights, files=small), Path(folder), lambda blob: local_file(bench.store, blob)
        )
        try_template(bench.study, model, folder, weights.hub)


def owed_pairs(bench: Bench, model: str | None = None) -> list[Pair]:
    """The models and variants whose GGUF is owed; what is made already needs no weights."""
    check_model_name(bench.study, model)
    owed = set(bench.survey(Stage.FINETUNE).owed(Stage.FINETUNE))
    pairs = [pair for pair in bench.keys.finetunes if model in (None, pair[0])]
    return [pair for pair in pairs if bench.keys.finetune(*pair) in owed]


def owed_weights(bench: Bench, model: str | None = None) -> list[str]:
    """Hub ids with revisions, `org/name@main`, whose weights are not in the store and are needed
    for a GGUF that is owed.
    """
    names = dict.fromkeys(_hub_ids(bench, owed_pairs(bench, model)).values())
    return [
        f"{name}@{revision}"
        for name, revision in names
        if complete(bench.store, name, revision) is None
    ]


def required_weights(bench: Bench, pairs: Iterable[Pair]) -> dict[Pair, Weights]:
    """The weights of those of the pairs that are made from a hub id.

    Raises Owed where they are not in the store.
    """
    found = {}
    for pair, (name, revision) in _hub_ids(bench, pairs).items():
        weights = complete(bench.store, name, revision)
        if weights is None:
            raise Owed(
                f"finetune: the weights of {name} at {revision} are owed; run `cbt-ray fetch "
                f"{bench.study.file}` first"
            )
        found[pair] = weights
    return found


def _hub_ids(bench: Bench, pairs: Iterable[Pair]) -> dict[Pair, tuple[str, str]]:
    """The pairs that are made from a hub id, with it and its revision."""
    bases = {
        (model, variant): bench.study.models[model].recipe.base(variant) for model, variant in pairs
    }
    return {
        pair: (base, revision or DEFAULT_REVISION)
        for pair, (base, revision) in bases.items()
        if is_hub_id(base)
    }


def _field(pair: Pair, tuned: str, compared: str) -> str:
    model, variant = pair
    return f"models.{model}.recipe.{tuned if variant == 'tuned' else compared}"


def _revision_field(bench: Bench, pair: Pair) -> str:
    recipe = bench.study.models[pair[0]].recipe
    return _field(
        pair, "revision", "revision" if recipe.compare == recipe.start else "compare_revision"
    )


class _Arrivals:
    """Tells which commit is fetched, and how far it is, every few seconds."""

    def __init__(self, progress: Progress) -> None:
        self.say = progress.say
        self.snapshot: Snapshot | None = None
        self.last = time.monotonic()

    def __call__(self, snapshot: Snapshot, file: HubFile, size: int) -> None:
        if self.snapshot is None:
            self.snapshot = snapshot
            total = sum(one.size for one in snapshot.files)
            self.say(
                f"fetch: {snapshot.hub}: commit {snapshot.commit}, {len(snapshot.files)} files, "
                f"{_bytes(total)}"
            )
        if time.monotonic() - self.last >= EVERY_S:
            self.last = time.monotonic()
            self.say(f"fetch: {snapshot.hub}: {file.name}: {_bytes(size)} of {_bytes(file.size)}")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
