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
from typing import TYPE_CHECKING, Any

from cbt_ray.cache import cache_folder, locked
from cbt_ray.count import many
from cbt_ray.errors import Owed
from cbt_ray.llm.gguf_file import DEFAULT_REVISION
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import Recipe, is_hub_id
from cbt_ray.training.start.hub import Hub, HubFile, Snapshot, WrongRevision
from cbt_ray.training.start.weights import Weights, complete, fetch_weights, link
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.inputs import at, check_model_name, check_recipes, try_template
from cbt_ray.work.workshop import local_file

if TYPE_CHECKING:
    from cbt_ray.work.progress import Progress

EVERY_S = 5.0
"""Seconds between two lines about a file that is on its way."""


def fetch(bench: Bench, model: str | None = None) -> bool:
    """Bring into the store what is owed of the weights, of one model or of all.

    Asks nobody where nothing is. Answers whether anything was.
    """
    owing = owed_checkpoints(bench, model)
    owed = {
        name: made
        for made, name in _hub_ids(bench, owing).items()
        if complete(bench.store, *name) is None
    }
    if owed:
        _bring(bench, owing, owed)
    for made, weights in required_weights(bench, owing).items():
        if made.tuned:
            _try_template(bench, made.model, weights)
    return bool(owed)


def _bring(bench: Bench, owing: list[Checkpoint], owed: dict[tuple[str, str], Checkpoint]) -> None:
    bench.check_store()
    check_recipes(bench.study, owing, train_here=False)
    hub = Hub.from_environment()
    for (name, revision), made in owed.items():
        arrivals = cache_folder() / "arriving" / name.replace("/", "--")
        with (
            at(bench.study, _field(made, "start", "compare")),
            locked(arrivals.with_name(f"{arrivals.name}.lock")),
        ):
            try:
                weights = fetch_weights(
                    bench.store, hub, name, revision, arrivals, _Arrivals(bench.progress)
                )
            except WrongRevision:
                with at(bench.study, _revision_field(bench, made)):
                    raise
        bench.progress.say(
            f"fetch: {name}: all {many(len(weights.files), 'file')} of commit {weights.commit} "
            "are in the store"
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


def owed_checkpoints(bench: Bench, model: str | None = None) -> list[Checkpoint]:
    """The checkpoints whose GGUF is owed; what is exported already needs no weights."""
    check_model_name(bench.study, model)
    owed = set(bench.survey(Stage.MODEL).owed(Stage.MODEL))
    wanted = [made for made in bench.keys.models if model in (None, made.model)]
    return [made for made in wanted if bench.keys.model(made) in owed]


def owed_weights(bench: Bench, model: str | None = None) -> list[str]:
    """Hub ids with revisions, `org/name@main`, whose weights are not in the store and are needed
    for a GGUF that is owed.
    """
    names = dict.fromkeys(_hub_ids(bench, owed_checkpoints(bench, model)).values())
    return [
        f"{name}@{revision}"
        for name, revision in names
        if complete(bench.store, name, revision) is None
    ]


def required_weights(bench: Bench, wanted: Iterable[Checkpoint]) -> dict[Checkpoint, Weights]:
    """The weights of those checkpoints that are made from a hub id.

    Raises Owed where they are not in the store.
    """
    found = {}
    for made, (name, revision) in _hub_ids(bench, wanted).items():
        weights = complete(bench.store, name, revision)
        if weights is None:
            raise Owed(
                f"the weights of {name} at {revision} are owed; run first: cbt-ray fetch "
                f"{bench.study.file}"
            )
        found[made] = weights
    return found


def on_this_machine(bench: Bench, made: Checkpoint, work: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with a folder in place of a hub id, and where its files are from.

    The recipe itself where it names a place.
    """
    recipe = bench.study.recipe_of(made)
    weights = required_weights(bench, [made]).get(made)
    if weights is None:
        return recipe, {}
    folder = link(
        weights, work / f"weights-{made.kind}", lambda blob: local_file(bench.store, blob)
    )
    return recipe.model_copy(
        update={"start" if made.tuned else "compare": str(folder)}
    ), weights.source


def _hub_ids(bench: Bench, wanted: Iterable[Checkpoint]) -> dict[Checkpoint, tuple[str, str]]:
    """The checkpoints that are made from a hub id, with it and its revision."""
    bases = {made: bench.study.models[made.model].recipe.base(made.tuned) for made in wanted}
    return {
        made: (base, revision or DEFAULT_REVISION)
        for made, (base, revision) in bases.items()
        if is_hub_id(base)
    }


def _field(made: Checkpoint, tuned: str, compared: str) -> str:
    return f"models.{made.model}.recipe.{tuned if made.tuned else compared}"


def _revision_field(bench: Bench, made: Checkpoint) -> str:
    recipe = bench.study.models[made.model].recipe
    return _field(
        made, "revision", "revision" if recipe.compare == recipe.start else "compare_revision"
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
                f"fetch: {snapshot.hub}: commit {snapshot.commit}, "
                f"{many(len(snapshot.files), 'file')}, {_bytes(total)}"
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
