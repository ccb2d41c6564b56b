"""Weights: an arm's model as files, for a server that answers in the therapist's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cbt_ray.errors import InputError, Owed
from cbt_ray.store import Blob
from cbt_ray.unit import Status, Unit
from cbt_ray.work.bench import Bench


def bring_weights(bench: Bench, arm_name: str, to: Path, say: Callable[[str], object]) -> None:
    """Bring what the finetune stage made for an arm, checked by SHA-256; files that are there and right are kept.

    `to`: a file for the GGUF alone, or a folder that is there for everything: GGUF, safetensors, card and Modelfile.
    """
    study = bench.study
    known = {arm.name: (arm.model, arm.variant) for arm in study.arms}
    if arm_name not in known:
        raise InputError(f"{study.file}: --arm: unknown arm {arm_name!r}, expected one of {list(known)}")
    made = [name for name, pair in known.items() if pair in bench.keys.finetunes]
    if arm_name not in made:
        raise InputError(
            f"{study.file}: --arm: expected an arm whose GGUF the finetune stage makes, one of {made}, not {arm_name!r}"
        )
    model, variant = known[arm_name]
    key = bench.keys.finetune(model, variant)
    unit = bench.store.get(key)
    if unit is None or unit.status is not Status.DONE:
        raise Owed(f"{key}: owed; train first")
    if to.is_dir() and variant == "tuned":
        from cbt_ray.stages.published import texts_of

        for name, text in texts_of(bench, model, unit).items():
            (to / name).write_text(text)
    for place, blob in _wanted(unit, to).items():
        place.parent.mkdir(parents=True, exist_ok=True)
        bench.store.fetch_blob(blob, place, key)
        say(f"{place}: {blob.size} bytes, SHA-256 {blob.sha256}")


def _wanted(unit: Unit, to: Path) -> dict[Path, Blob]:
    """Where each file goes: the GGUF alone to a file, all that there is to a folder."""
    gguf = Blob.from_json(unit.content["gguf"])
    if not to.is_dir():
        return {to: gguf}
    files = unit.content.get("files") or {f"{unit.key.id}.gguf": unit.content["gguf"]}
    return {to / name: Blob.from_json(blob) for name, blob in files.items()}
