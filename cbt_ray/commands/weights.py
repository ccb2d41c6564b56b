"""Weights: an arm's model as files, for a server that answers in the therapist's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cbt_ray.errors import InputError, Owed
from cbt_ray.store import Blob
from cbt_ray.unit import Status
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
    wanted = {to: unit.content["gguf"]}
    if to.is_dir() and variant == "tuned":
        from cbt_ray.stages.published import files_of, texts_of

        for name, text in texts_of(bench, model, unit).items():
            (to / name).write_text(text)
        wanted = {to / name: blob for name, blob in files_of(bench, model, unit).items()}
    elif to.is_dir():
        wanted = {to / f"{key.id}.gguf": unit.content["gguf"]}
    for place, one in wanted.items():
        blob = Blob.from_json(one)
        place.parent.mkdir(parents=True, exist_ok=True)
        bench.store.fetch_blob(blob, place, key)
        say(f"{place}: {blob.size} bytes, SHA-256 {blob.sha256}")
