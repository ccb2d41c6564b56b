"""Weights: an arm's model as files, for a server that answers in the therapist's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cbt_ray.commands.delivery import Delivery
from cbt_ray.count import many
from cbt_ray.errors import InputError, Owed
from cbt_ray.stages.judged import gate_failed
from cbt_ray.store import Blob
from cbt_ray.study.scheduled import seeds_of
from cbt_ray.unit import Key, Status
from cbt_ray.work.bench import Bench


def bring_weights(
    bench: Bench, arm_name: str, to: Path, say: Callable[[str], object], seed: int = 0
) -> None:
    """Bring what was exported for an arm, or for a rater, checked by SHA-256.

    Files that are right are kept.

    `to`: a file for the GGUF alone, or a folder that is there for everything: GGUF, safetensors,
    adapter, card and Modelfile. `seed`: the number of the training seed, from 0.
    """
    study = bench.study
    judges = {name: one.made for name, one in study.judges.items() if one.made}
    known = judges | {arm.name: bench.keys.made_for(arm) for arm in study.arms}
    if arm_name not in known:
        raise InputError(
            f"{study.file}: --arm: unknown arm {arm_name!r}, expected one of {list(known)}"
        )
    made = [name for name, one in known.items() if one]
    checkpoint = known[arm_name]
    if checkpoint is None:
        raise InputError(
            f"{study.file}: --arm: expected an arm whose GGUF the study exports, one of "
            f"{made}, not {arm_name!r}"
        )
    arms = [arm for arm in study.arms if arm.name == arm_name]
    seeds = seeds_of(study, arms[0]) if arms else range(1)
    if seed not in seeds:
        raise InputError(
            f"{study.file}: --seed: expected one of {list(seeds)}, the training seeds of "
            f"{arm_name}, found {seed}"
        )
    checkpoint = checkpoint._replace(seed=seed)
    key = bench.keys.model(checkpoint)
    unit = bench.store.get(key)
    if unit is not None and unit.status is not Status.DONE:
        raise gate_failed(bench, checkpoint, unit)
    if unit is None:
        raise Owed(
            f"{key}: owed; run first: {bench.command(key.stage, '--model', checkpoint.model)}"
        )
    owners: dict[str, Key] = {}
    files: dict[str, bytes | Blob] = {to.name: Blob.from_json(unit.content["gguf"])}
    if to.is_dir() and checkpoint.tuned:
        from cbt_ray.stages.published import files_of, texts_of
        from cbt_ray.stages.searched import chosen_of

        files = {name: text.encode() for name, text in texts_of(bench, checkpoint, unit).items()}
        adapter, large = chosen_of(bench, checkpoint).adapter, files_of(bench, checkpoint, unit)
        own = {f"adapter/{name}": blob for name, blob in adapter.content["adapter"].items()}
        owners = {blob["path"]: adapter.key for blob in own.values()}
        files |= {name: Blob.from_json(blob) for name, blob in {**large, **own}.items()}
    elif to.is_dir():
        files = {f"{key.id}.gguf": Blob.from_json(unit.content["gguf"])}
    folder = to if to.is_dir() else to.parent
    fetch = partial(_fetch, bench, key, owners)
    Delivery(folder, "weights", fetch, whole=False).hand_over(files)
    for name, one in files.items():
        if isinstance(one, Blob):
            say(f"{folder / name}: {many(one.size, 'byte')}, SHA-256 {one.sha256}")


def _fetch(bench: Bench, key: Key, owners: Mapping[str, Key], blob: Blob, file: Path) -> None:
    bench.store.fetch_blob(blob, file, owners.get(blob.path, key))
