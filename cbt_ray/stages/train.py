"""Train: every model's tuned GGUF and the instruct GGUF it is compared with.

One model a job, in this process.

Checkpoints go to the store; a rerun, also on another machine, goes on from the last one.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbt_ray.errors import GateFailed, InputError, Owed
from cbt_ray.llm.gguf_file import PACKAGE
from cbt_ray.llm.llamacpp import adds_bos
from cbt_ray.reading import read_json
from cbt_ray.stages.dataset import fetch_dataset
from cbt_ray.stages.fetch import on_this_machine, owed_checkpoints, required_weights
from cbt_ray.stages.lessons import make_lessons
from cbt_ray.stages.pairs import write_pairs
from cbt_ray.stages.published import front_of, publish, withdraw
from cbt_ray.stages.rejected import retry_models
from cbt_ray.stages.steps import Steps
from cbt_ray.store import Blob
from cbt_ray.study.licence import published_name
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.pairs import MADE
from cbt_ray.study.recipe import Recipe, is_hub_id, pairs_of
from cbt_ray.training.export.card import LICENCES
from cbt_ray.training.gate.verdict import Check, Verdict
from cbt_ray.unit import Key, Stage, Status, Unit, canonical, digest
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.engine import available_cpus
from cbt_ray.work.inputs import at, check_model_name, check_recipes
from cbt_ray.work.preferences import bring
from cbt_ray.work.usage import record_run
from cbt_ray.work.workshop import local_file

if TYPE_CHECKING:
    from cbt_ray.training.finetune import Made

_MEASURED = {
    "seconds",
    "parts_seconds",
    "tokens_per_second",
    "versions",
    "log_seconds",
    "resumed_from",
}
"""Metrics that differ between two equal trainings: they belong to the provenance."""


def train(bench: Bench, model: str | None = None, *, retry_rejected: bool = False) -> None:
    """Make every owed GGUF, of one model or of all but those that learn from ratings.

    Raises Owed where the dataset or a base model's weights are owed, or SIGTERM ended a training;
    GateFailed where a model failed its parity gate, now or earlier. `retry_rejected`: export and
    judge those again, from the checkpoint that was kept.
    """
    wanted = bench.keys.therapists
    if model is not None:
        wanted = [made for made in bench.keys.finetunes if made.model == model]
    if not wanted:
        check_model_name(bench.study, model)
        bench.progress.say(
            f"train: no arm needs {model or 'a model'} to be made: none is tuned, or answers with "
            "our GGUF"
        )
        return
    if retry_rejected:
        retry_models(bench, model)
    if model in bench.keys.learners:
        make_lessons(bench, model)
    bench.renewed(Stage.PAIRS, Stage.DATASET, Stage.FINETUNE)
    owed = [made for made in owed_checkpoints(bench, model) if made in wanted]
    if owed:
        _make(bench, owed)
    failed: GateFailed | None = None
    for made in wanted:
        try:
            _settle(bench, made)
        except GateFailed as error:
            failed = failed or error
    if failed:
        raise failed


def _make(bench: Bench, owed: list[Checkpoint]) -> None:
    if any(made.tuned for made in owed):
        before = bench.survey(Stage.PAIRS, Stage.DATASET)
        needed = {key for made in owed for key in bench.keys.inputs(bench.keys.finetune(made))}
        for stage in (Stage.PAIRS, Stage.DATASET):
            must_be_done(bench, before, stage, Stage.FINETUNE, needed)
    bench.check_store()
    check_recipes(bench.study, owed)
    required_weights(bench, owed)
    for made in owed:
        if made.tuned:
            withdraw(bench, made)
    begun = time.monotonic()
    with (
        bench.progress.stage(Stage.FINETUNE, len(owed)) as watch,
        tempfile.TemporaryDirectory(prefix="cbt-ray-") as work,
    ):
        # The instruct export comes last: what can fail after hours is done first.
        ordered = sorted(owed, key=lambda made: (made.model, not made.tuned, made.seed))
        for name, group in groupby(ordered, key=lambda made: made.model):
            first = Path(work) / name
            for made in group:
                place = first if not made.seed else Path(work) / made.id
                key = bench.keys.finetune(made)
                unit = bench.origins.put(
                    (_tune if made.tuned else _compare)(bench, made, key, place)
                )
                # three files of a large model; what was unpacked is for both
                shutil.rmtree(place / "tuned" if place == first else place, ignore_errors=True)
                watch(str(key), unit.status)
            shutil.rmtree(first, ignore_errors=True)
    record_run(bench.store, bench.study.study, Stage.FINETUNE, time.monotonic() - begun)


def _tune(bench: Bench, of: Checkpoint, key: Key, work: Path) -> Unit:
    from cbt_ray.training.checkpoint import StoreCheckpoints
    from cbt_ray.training.finetune import Unfit, tune
    from cbt_ray.training.live import Live

    model, recipe = of.model, bench.study.recipe_of(of)
    examples = next(one for one in bench.keys.inputs(key) if one.stage is Stage.DATASET)
    if fetch_dataset(bench, examples, work / "dataset") is None:
        raise Owed(f"finetune: {examples} is owed; run first: {bench.command(Stage.DATASET)}")
    units = [unit for _, unit in bench.store.get_many(bench.keys.inputs(key)) if unit]
    made_from = bench.origins.record(key, units)
    checkpoints = StoreCheckpoints(bench.store, key, work / "checkpoints", _of(units))
    here, source = on_this_machine(bench, of, work)
    with at(bench.study, f"models.{model}.recipe.preferences"):
        pairs, held_out_pairs = _made_pairs(bench, recipe, work)
        pairs = pairs or bring(
            bench.study, bench.store, recipe, lambda blob: local_file(bench.store, blob)
        )
    with at(bench.study, f"models.{model}.recipe.tensorboard"):
        live = Live(bench.store, key, tensorboard=recipe.tensorboard)
    with live:
        steps = Steps(bench, f"{model}{of.suffix}", live)
        threads = available_cpus()
        try:
            with _in_recipe(bench, model):
                made = tune(
                    *(here, work / "dataset", work, checkpoints, steps),
                    preferences=pairs,
                    held_out_preferences=held_out_pairs,
                    threads=threads,
                    say=steps.part,
                    front=front_of(bench.study, of),
                    today=bench.study.told_date,
                )
        except Unfit as error:
            return _unit(key, error.verdict, {}, {}, source, made_from)
    return _tuned(bench, of, key, made, source, made_from)


def _of(units: Sequence[Unit]) -> str:
    """What a training is of: one that was broken off goes on with the same alone."""
    digests = [unit.digest for unit in units]
    return digests[0] if len(digests) == 1 else digest(digests)


def _made_pairs(bench: Bench, recipe: Recipe, work: Path) -> tuple[Path | None, Path | None]:
    """Files of the pairs that the study made, of the patients that are trained on and of held-out
    ones, where there are any.
    """
    name = pairs_of(recipe)
    if name is None:
        return None, None
    from cbt_ray.training.dataset import read

    splits = read(work / "dataset")
    seen, unseen = ({one["patient"] for one in part} for part in (splits.train, splits.held_out))
    file, other = work / "pairs.jsonl", work / "held_out_pairs.jsonl"
    if not write_pairs(bench, name, seen, file):
        raise InputError(
            "expected at least one pair of the patients that are trained on "
            f"({len(seen)}), {MADE}{name} has none"
        )
    return file, other if write_pairs(bench, name, unseen - seen, other) else None


@contextmanager
def _in_recipe(bench: Bench, model: str) -> Iterator[None]:
    """Say in which file and recipe a field is, where an InputError begins with one.

    What a store refuses has neither.
    """
    try:
        yield
    except InputError as error:
        begins = re.match(r"\w+", str(error))
        if begins and begins[0] in Recipe.model_fields:
            with at(bench.study, f"models.{model}.recipe"):
                raise
        raise


def _tuned(
    bench: Bench,
    of: Checkpoint,
    key: Key,
    made: Made,
    source: dict[str, Any],
    made_from: Mapping[str, str],
) -> Unit:
    """Bring all files into the store; answers the unit that names them."""
    recipe, name = bench.study.recipe_of(of), published_name(bench.study, of)
    adapter = _stored(bench, key, _adapter_files(made, recipe.start, source.get("commit")))
    files = {f"{name}.gguf": made.exported.gguf.path}
    if recipe.safetensors:
        files |= {
            f"safetensors/{file.name}": file for file in sorted(made.exported.merged.iterdir())
        }
    files |= {f"{LICENCES}{file.name}": file for file in made.base.licences}
    blobs = _stored(bench, key, files)
    made = replace(
        made, verdict=_with_upload(bench, made.verdict, [*blobs.values(), *adapter.values()])
    )
    template = asdict(made.base.template)
    named: dict[str, Any] = {
        "gguf": blobs[f"{name}.gguf"].to_json(),
        "adapter": _listed(adapter),
        "files": _listed(blobs),
    }
    named |= {"template": template, "adds_bos": adds_bos(made.exported.gguf.path)}
    return _unit(key, made.verdict, made.metrics, named, source, made_from)


def _settle(bench: Bench, made: Checkpoint) -> None:
    """What comes after the unit of a model, also where a run was killed before it got here.

    One that passed its gate is published, and its checkpoints go. One that failed is kept, and for
    the user to look at.
    """
    from cbt_ray.training.checkpoint import clear_checkpoints

    key = bench.keys.finetune(made)
    unit = bench.store.get(key)
    if unit is None:
        return
    if unit.status is not Status.DONE:
        raise _failed(bench, made, unit)
    if made.tuned:
        publish(bench, made, unit)
        clear_checkpoints(bench.store, key)


def _failed(bench: Bench, made: Checkpoint, unit: Unit) -> GateFailed:
    failed = [check for check in unit.content["metrics"]["gate"] if check["passed"] is False]
    said = "; ".join(
        f"{one['name']}: expected {one['expected']}, found {canonical(one['measured']).decode()}"
        for one in failed
    )
    if "gguf" not in unit.content:
        then = (
            "it was not trained, since no training would change that: name another base, or a "
            "revision of it"
        )
    else:
        again = bench.command(Stage.FINETUNE, "--model", made.model, "--retry-rejected")
        then = f"its files are kept ({unit.key}); to export and judge it again: {again}"
    return GateFailed(
        f"{bench.study.file}: models.{made.model}: the {made.kind} model"
        f"{f' of seed + {made.seed}' if made.seed else ''} failed its parity gate ({said}); "
        f"{then}"
    )


def _adapter_files(made: Made, start: str, commit: str | None) -> dict[str, Path]:
    """The adapter's files without the README that PEFT writes beside them, which quotes paths of
    this machine.
    """
    if made.adapter is None:
        return {}
    named = start if is_hub_id(start) or start.startswith(PACKAGE) else Path(start).name
    _settle_config(made.adapter / "adapter_config.json", named, commit)
    return {
        file.name: file
        for file in sorted(made.adapter.iterdir())
        if file.suffix in {".json", ".safetensors"}
    }


def _stored(bench: Bench, key: Key, files: Mapping[str, Path]) -> dict[str, Blob]:
    return {
        name: bench.store.put_blob(key, name.replace("/", "-"), file)
        for name, file in files.items()
    }


def _listed(blobs: Mapping[str, Blob]) -> dict[str, Any]:
    return {name: blob.to_json() for name, blob in blobs.items()}


def _with_upload(bench: Bench, verdict: Verdict, blobs: Sequence[Blob]) -> Verdict:
    """The verdict, and whether the store holds what was sent."""
    lost = [blob.path for blob in blobs if not bench.store.holds(blob)]
    measured = {"files": len(blobs), "bytes": sum(blob.size for blob in blobs), "lost": lost}
    upload = Check(
        "upload",
        not lost,
        measured,
        "every file in the store in its full size, in a folder with its SHA-256",
    )
    return replace(verdict, checks=(*verdict.checks, upload))


def _settle_config(file: Path, start: str, commit: str | None) -> None:
    """Name what training started from in place of a folder of this machine, and sort what PEFT
    writes in the order of a set.
    """
    config = read_json(file)
    config["base_model_name_or_path"] = start
    config["revision"] = commit
    config["target_modules"] = sorted(config["target_modules"])
    file.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _compare(bench: Bench, of: Checkpoint, key: Key, work: Path) -> Unit:
    from cbt_ray.training.finetune import export_compared

    steps = Steps(bench, f"{of.model} instruct")
    here, source = on_this_machine(bench, of, work)
    with _in_recipe(bench, of.model):
        threads, today = available_cpus(), bench.study.told_date
        made = export_compared(here, work, threads=threads, say=steps.part, today=today)
    blob = bench.store.put_blob(key, f"{key.id}.gguf", made.exported.gguf.path)
    verdict = _with_upload(bench, made.verdict, [blob])
    return _unit(
        key, verdict, made.metrics, {"gguf": blob.to_json()}, source, bench.origins.record(key, [])
    )


def _unit(
    key: Key,
    verdict: Verdict,
    metrics: dict[str, Any],
    files: dict[str, Any],
    source: dict[str, Any],
    made_from: Mapping[str, str],
) -> Unit:
    """Done where the gate passed.

    Otherwise rejected, with the files, if there are any, and what the gate found.
    """
    metrics = {**metrics, "gate": verdict.to_json()["checks"]}
    lasting = {name: value for name, value in metrics.items() if name not in _MEASURED}
    measured = {name: value for name, value in metrics.items() if name in _MEASURED}
    files = {**files, "reference": list(verdict.reference)} if files else files
    by = {
        "cbt_ray": version("cbt-ray"),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": measured,
    }
    by |= {"base": source} if source else {}
    failed = verdict.failed
    status, reason = (
        (Status.REJECTED, f"parity: {', '.join(failed)}") if failed else (Status.DONE, None)
    )
    return Unit(
        key, {**files, "metrics": lasting}, status, reason, provenance=by, made_from=made_from
    )
