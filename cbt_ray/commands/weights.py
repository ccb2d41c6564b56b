"""Weights: an arm's GGUF as a file, for a server that answers in the therapist's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cbt_ray.errors import InputError, Owed
from cbt_ray.store import Blob
from cbt_ray.unit import Status
from cbt_ray.work.bench import Bench


def bring_weights(bench: Bench, arm_name: str, file: Path, say: Callable[[str], object]) -> None:
    """Bring the GGUF that the finetune stage made for an arm to a file, checked by its SHA-256; a file that is right is kept."""
    study = bench.study
    known = {arm.name: (arm.model, arm.variant) for arm in study.arms}
    if arm_name not in known:
        raise InputError(f"{study.file}: --arm: unknown arm {arm_name!r}, expected one of {list(known)}")
    made = [name for name, pair in known.items() if pair in bench.keys.finetunes]
    if arm_name not in made:
        raise InputError(
            f"{study.file}: --arm: expected an arm whose GGUF the finetune stage makes, one of {made}, not {arm_name!r}"
        )
    if file.is_dir():
        raise InputError(f"--to: expected a file, {file} is a folder")
    key = bench.keys.finetune(*known[arm_name])
    unit = bench.store.get(key)
    if unit is None or unit.status is not Status.DONE:
        raise Owed(f"{key}: owed; train first")
    blob = Blob.from_json(unit.content["gguf"])
    bench.store.fetch_blob(blob, file, key)
    say(f"{file}: {blob.size} bytes, SHA-256 {blob.sha256}")
