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

from cbt_ray.stages.dataset import fetch_dataset
from cbt_ray.stages.fetch import owed_pairs, required_weights
from cbt_ray.study.model import Recipe
from cbt_ray.training.weights import link
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.engine import available_cpus
from cbt_ray.work.inputs import check_recipes
from cbt_ray.work.usage import record_run
from cbt_ray.work.workplace import local_file

if TYPE_CHECKING:
    from cbt_ray.training.backend import Progress as Step

EVERY_S = 5.0
"""Seconds between two lines about training's steps."""
_MEASURED = {"seconds", "parts_seconds", "tokens_per_second", "versions", "log_seconds", "resumed_from"}
"""Metrics that differ between two equal trainings: they belong to the provenance."""


def train(bench: Bench, model: str | None = None) -> None:
    """Make every owed GGUF, of one model or of all.

    Raises Owed where the dataset or a base model's weights are owed, or SIGTERM ended a training.
    """
    owed = owed_pairs(bench, model)
    if not owed:
        return
    if any(variant == "tuned" for _, variant in owed):
        must_be_done(bench.survey(Stage.DATASET), Stage.DATASET, "finetune")
    bench.check_store()
    check_recipes(bench.study, owed)
    required_weights(bench, owed)
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
    here, source = _on_this_machine(bench, model, "tuned", work)
    tuned = tune(
        here,
        dataset,
        work,
        checkpoints,
        steps,
        threads=available_cpus(),
        held_out_windows=recipe.held_out_windows,
        say=steps.part,
    )
    _settle_config(tuned.adapter / "adapter_config.json", recipe.start, source.get("commit"))
    # The README that PEFT writes beside the weights quotes paths of this machine.
    files = [file for file in sorted(tuned.adapter.iterdir()) if file.suffix in {".json", ".safetensors"}]
    adapter = {file.name: bench.store.put_blob(key, file.name, file).to_json() for file in files}
    _put(bench, key, tuned.gguf, tuned.metrics, {"adapter": adapter}, source)
    checkpoints.clear()


def _on_this_machine(bench: Bench, model: str, variant: str, work: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with a folder in place of a hub id, and where its files are from; the recipe itself where it names a place."""
    recipe = bench.study.models[model].recipe
    weights = required_weights(bench, [(model, variant)]).get((model, variant))
    if weights is None:
        return recipe, {}
    folder = link(weights, work / f"weights-{variant}", lambda blob: local_file(bench.store, blob))
    return recipe.model_copy(update={"start" if variant == "tuned" else "compare": str(folder)}), weights.source


def _settle_config(file: Path, start: str, commit: str | None) -> None:
    """Name what training started from in place of a folder of this machine, and sort what PEFT writes in the order of a set."""
    config = json.loads(file.read_text())
    config["base_model_name_or_path"] = start
    config["revision"] = commit
    config["target_modules"] = sorted(config["target_modules"])
    file.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _compare(bench: Bench, model: str, key: Key, work: Path) -> None:
    from cbt_ray.training.finetune import export_compared

    steps = _Steps(bench, f"{model} instruct")
    here, source = _on_this_machine(bench, model, "instruct", work)
    exported = export_compared(here, work, threads=available_cpus(), say=steps.part)
    _put(bench, key, exported.gguf, exported.metrics, {}, source)


def _put(bench: Bench, key: Key, gguf: Path, metrics: dict[str, Any], more: dict[str, Any], source: dict[str, Any]) -> None:
    blob = bench.store.put_blob(key, f"{key.id}.gguf", gguf)
    lasting = {name: value for name, value in metrics.items() if name not in _MEASURED}
    measured = {name: value for name, value in metrics.items() if name in _MEASURED}
    made = {"cbt_ray": version("cbt-ray"), "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "training": measured}
    made |= {"base": source} if source else {}
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
