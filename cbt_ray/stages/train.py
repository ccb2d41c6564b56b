"""Train: every model's tuned GGUF and the instruct GGUF it is compared with. One model a job, in this process.

Checkpoints go to the store; a rerun, also on another machine, goes on from the last one.
"""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbt_ray.errors import InputError
from cbt_ray.stages.dataset import fetch_dataset
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.engine import available_cpus
from cbt_ray.work.inputs import check_recipes
from cbt_ray.work.usage import record_run

if TYPE_CHECKING:
    from cbt_ray.training.backend import Progress as Step

EVERY_S = 5.0
"""Seconds between two lines about training's steps."""
_MEASURED = {"seconds", "parts_seconds", "tokens_per_second", "versions", "log_seconds", "resumed_from"}
"""Metrics that differ between two equal trainings: they belong to the provenance."""


def train(bench: Bench, model: str | None = None) -> None:
    """Make every owed GGUF, of one model or of all. Raises Owed where the dataset is owed or SIGTERM ended a training."""
    if model is not None and model not in bench.study.models:
        raise InputError(f"{bench.study.file}: --model: unknown model {model!r}, expected one of {sorted(bench.study.models)}")
    pairs = [pair for pair in bench.keys.finetunes if model in (None, pair[0])]
    owed = [pair for pair in pairs if bench.store.get(bench.keys.finetune(*pair)) is None]
    if not owed:
        return
    if any(variant == "tuned" for _, variant in owed):
        must_be_done(bench.survey(Stage.DATASET), Stage.DATASET, "finetune")
    bench.check_store()
    check_recipes(bench.study, owed)
    begun = time.monotonic()
    with bench.progress.stage(Stage.FINETUNE, len(owed)) as watch, tempfile.TemporaryDirectory(prefix="cbt-ray-") as work:
        # The instruct export comes last: what can fail after hours is done first.
        for name, variant in sorted(owed, key=lambda pair: (pair[0], pair[1] != "tuned")):
            key = bench.keys.finetune(name, variant)
            (_tune if variant == "tuned" else _compare)(bench, name, key, Path(work) / name)
            watch(str(key), "done")
    record_run(bench.store, bench.study.study, Stage.FINETUNE, time.monotonic() - begun)


def _tune(bench: Bench, model: str, key: Key, work: Path) -> None:
    from cbt_ray.training.checkpoint import StoreCheckpoints
    from cbt_ray.training.finetune import tune

    dataset = fetch_dataset(bench, work / "dataset")
    checkpoints = StoreCheckpoints(bench.store, key, work / "checkpoints")
    steps = _Steps(bench, model)
    recipe = bench.study.models[model].recipe
    tuned = tune(
        recipe,
        dataset,
        work,
        checkpoints,
        steps,
        threads=available_cpus(),
        held_out_windows=recipe.held_out_windows,
        say=steps.part,
    )
    _settle_config(tuned.adapter / "adapter_config.json", recipe.start)
    # The README that PEFT writes beside the weights quotes paths of this machine.
    files = [file for file in sorted(tuned.adapter.iterdir()) if file.suffix in {".json", ".safetensors"}]
    adapter = {file.name: bench.store.put_blob(key, file.name, file).to_json() for file in files}
    _put(bench, key, tuned.gguf, tuned.metrics, {"adapter": adapter})
    checkpoints.clear()


def _settle_config(file: Path, start: str) -> None:
    """Name what training started from in place of a folder of this machine, and sort what PEFT writes in the order of a set."""
    config = json.loads(file.read_text())
    config["base_model_name_or_path"] = start
    config["target_modules"] = sorted(config["target_modules"])
    file.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _compare(bench: Bench, model: str, key: Key, work: Path) -> None:
    from cbt_ray.training.finetune import export_compared

    steps = _Steps(bench, f"{model} instruct")
    exported = export_compared(bench.study.models[model].recipe, work, threads=available_cpus(), say=steps.part)
    _put(bench, key, exported.gguf, exported.metrics, {})


def _put(bench: Bench, key: Key, gguf: Path, metrics: dict[str, Any], more: dict[str, Any]) -> None:
    blob = bench.store.put_blob(key, f"{key.id}.gguf", gguf)
    lasting = {name: value for name, value in metrics.items() if name not in _MEASURED}
    measured = {name: value for name, value in metrics.items() if name in _MEASURED}
    made = {"cbt_ray": version("cbt-ray"), "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "training": measured}
    bench.store.put(Unit(key, {"gguf": blob.to_json(), "metrics": lasting, **more}, provenance=made))


class _Steps:
    """Tells how far a training is: its parts as they begin, its steps every few seconds."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.say = bench.progress.say
        self.name = name
        self.last = time.monotonic()

    def part(self, part: str) -> None:
        """Tell of a part that begins."""
        self.say(f"finetune: {self.name}: {part}")

    def __call__(self, step: Step) -> None:
        if time.monotonic() - self.last < EVERY_S and step.step < step.steps:
            return
        self.last = time.monotonic()
        left = (step.steps - step.step) * step.seconds / max(step.step, 1)
        self.say(f"finetune: {self.name}: step {step.step}/{step.steps}, loss {step.loss:.3f}, {left:.0f} s left")
