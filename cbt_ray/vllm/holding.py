"""What a server holds: a base model on this machine and the adapters beside it, each under the name
by which requests ask for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.cache import cache_folder, locked
from cbt_ray.errors import InputError, Owed
from cbt_ray.stages.fetch import on_this_machine
from cbt_ray.stages.searched import chosen_of
from cbt_ray.store import Blob
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.serving import MERGED, Server, endpoint_of
from cbt_ray.training.gate.expected import Expected
from cbt_ray.training.start.base import open_base, read_base
from cbt_ray.unit import Key, Status, Unit
from cbt_ray.vllm.folder import readable
from cbt_ray.work.bench import Bench
from cbt_ray.work.served import served
from cbt_ray.work.workshop import local_file


@dataclass(frozen=True)
class Model:
    """A model of the study, its name in requests, its unit, and what it has to say."""

    made: Checkpoint
    name: str
    unit: Unit
    expected: tuple[Expected, ...]


@dataclass(frozen=True)
class Holding:
    """What one server is started with."""

    base: Path
    """A folder; adapters are on it."""
    name: str
    """Of the base, by which nobody asks where all arms are tuned."""
    adapters: Mapping[str, Path]
    rank: int
    """The largest of an adapter."""


def models_of(bench: Bench, server: Server, held: list[Checkpoint]) -> list[Model]:
    """The models that a server holds.

    Raises Owed where one is not exported yet.
    """
    found = []
    for made in held:
        key = bench.keys.model(made)
        unit = bench.store.get(key)
        if unit is None or unit.status is not Status.DONE:
            raise Owed(f"{key}: owed; run first: {bench.command(key.stage)}")
        if "reference" not in unit.content:
            raise Owed(f"{key}: holds no reference, it is of an older cbt-ray; export it anew")
        expected = tuple(map(Expected.from_json, unit.content["reference"]))
        found.append(Model(made, served(bench.keys, made, server.endpoint).name, unit, expected))
    return found


def bring(bench: Bench, server: Server, models: list[Model]) -> Holding:
    """Bring what a server holds to this machine, checked by SHA-256; it stays for the next
    start.
    """
    folder = cache_folder() / "served" / bench.study.study / f"{server.model}.{server.endpoint}"
    with locked(folder.with_suffix(".lock")):
        return _brought(bench, server, models, folder)


def _brought(bench: Bench, server: Server, models: list[Model], folder: Path) -> Holding:
    first, today = models[0], bench.study.told_date
    own = bench.study.recipe_of(first.made)
    if first.made.tuned and endpoint_of(bench.study, server).form == MERGED:
        files = _part(first.unit.content["files"], "safetensors/")
        if not files:
            raise InputError(
                f"{bench.study.file}: models.{server.model}.recipe.safetensors: expected a model "
                f"that was trained with it, {first.unit.key} holds none"
            )
        merged = _linked(bench, first.unit.key, files, folder / "merged")
        base = read_base(merged, "", turn_end=own.turn_end, today=today)
        return Holding(readable(base, folder / "model"), first.name, {}, 0)
    recipe, _ = on_this_machine(bench, first.made, folder)
    start = recipe.base(first.made.tuned)[0]
    base = open_base(start, folder, recipe.chat_template, turn_end=recipe.turn_end, today=today)
    adapters = {
        one.name: _adapter(bench, one.made, folder / "adapters" / one.name)
        for one in models
        if one.made.tuned
    }
    plain = next((one.name for one in models if not one.made.tuned), f"{server.model}-base")
    ranks = [chosen_of(bench, one.made).recipe.lora.r for one in models if one.made.tuned]
    return Holding(readable(base, folder / "model"), plain, adapters, max(ranks, default=0))


def _part(files: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The files in a folder, by their names there."""
    return {
        name.removeprefix(folder): one for name, one in files.items() if name.startswith(folder)
    }


def _adapter(bench: Bench, made: Checkpoint, folder: Path) -> Path:
    unit = chosen_of(bench, made).adapter
    return _linked(bench, unit.key, unit.content["adapter"], folder)


def _linked(bench: Bench, owner: Key, files: Mapping[str, Any], folder: Path) -> Path:
    """A folder of links to files of a unit, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, blob in files.items():
        file = local_file(bench.store, Blob.from_json(blob), owner)
        (folder / name).symlink_to(file.absolute())
    return folder
