"""Export: every model's tuned GGUF, made of its adapter, and the instruct GGUF it is compared with.

Merging, converting, quantizing and judging need no accelerator, and nothing that trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbt_ray.llm.llamacpp import adds_bos
from cbt_ray.stages.fetch import on_this_machine, required_weights
from cbt_ray.stages.judged import (
    gate_failed,
    in_recipe,
    listed,
    make_each,
    settle_each,
    stored,
    unit_of,
    wanted,
)
from cbt_ray.stages.published import front_of, publish, withdraw
from cbt_ray.stages.rejected import retry_models
from cbt_ray.stages.searched import candidates_of, chosen_of, fell
from cbt_ray.stages.steps import Steps
from cbt_ray.stages.train import bring_dataset
from cbt_ray.store import Blob
from cbt_ray.study.licence import published_name
from cbt_ray.study.model import Checkpoint
from cbt_ray.training.export.card import LICENCES
from cbt_ray.training.gate.verdict import Check, Verdict
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.engine import available_cpus
from cbt_ray.work.inputs import check_exports
from cbt_ray.work.survey import Survey

if TYPE_CHECKING:
    from cbt_ray.training.made import Adapter, Made


def export(bench: Bench, model: str | None = None, *, retry_rejected: bool = False) -> None:
    """Make every owed GGUF, of one model or of all but those that learn from ratings.

    Raises Owed where an adapter or a base model's weights are owed; GateFailed where a model failed
    its parity gate, now or earlier; `retry_rejected` exports and judges those again.
    """
    models = wanted(bench, model)
    if not models:
        bench.progress.say(
            f"export: no arm needs {model or 'a model'} to be made: none is tuned, or answers with "
            "our GGUF"
        )
        return
    if retry_rejected:
        retry_models(bench, model)
    survey = bench.renewed(Stage.ADAPTER, Stage.MODEL)
    due = set(survey.owed(Stage.MODEL))
    owed = [made for made in models if bench.keys.model(made) in due]
    if owed:
        _make(bench, survey, owed)
    settle_each(models, partial(_settle, bench))


def _make(bench: Bench, survey: Survey, owed: list[Checkpoint]) -> None:
    needed = {key for made in owed for key in bench.keys.inputs(bench.keys.model(made))}
    must_be_done(bench, survey, Stage.ADAPTER, Stage.MODEL, needed)
    bench.check_store()
    check_exports(bench.study, owed)
    required_weights(bench, owed)
    for made in owed:
        withdraw(bench, made)
    make_each(bench, Stage.MODEL, owed, partial(_export, bench))


def _settle(bench: Bench, made: Checkpoint) -> None:
    """What comes after the unit of a model, also where a run was killed before it got here.

    One that passed its gate is published. One that failed is kept, for the user to look at.
    """
    unit = bench.store.get(bench.keys.model(made))
    if unit is None and made.tuned and (failed := fell(bench, made)):
        raise failed
    if unit is not None and unit.status is not Status.DONE:
        raise gate_failed(bench, made, unit)
    if unit is not None and made.tuned:
        publish(bench, made, unit)


def _export(bench: Bench, of: Checkpoint, work: Path) -> Unit:
    return (_tuned if of.tuned else _compared)(bench, of, work)


def _tuned(bench: Bench, of: Checkpoint, work: Path) -> Unit:
    """Export an adapter and bring all files into the store; answers the unit that names them."""
    key, tried = bench.keys.model(of), candidates_of(bench, of)
    adapter = chosen_of(bench, of, tried).adapter
    made_from = bench.origins.record(key, (one.adapter for one in tried))
    here, source = on_this_machine(bench, of, work)
    steps = Steps(bench, Stage.MODEL, of)
    bring_dataset(bench, adapter.key, work / "dataset")
    with in_recipe(bench, of.model):
        from cbt_ray.training.made import export_tuned

        made = export_tuned(
            *(here, _brought(bench, adapter, work / "adapter"), work / "dataset", work),
            threads=available_cpus(),
            say=steps.part,
            front=front_of(bench.study, of),
            today=bench.study.told_date,
        )
    name = f"{published_name(bench.study, of)}.gguf"
    blobs = stored(bench, key, {name: made.exported.gguf.path, **_beside(bench, of, made)})
    content = {
        "gguf": blobs[name].to_json(),
        "files": listed(blobs),
        "adds_bos": adds_bos(made.exported.gguf.path),
    }
    return _unit(bench, of, made, list(blobs.values()), content, source, made_from)


def _brought(bench: Bench, unit: Unit, folder: Path) -> Adapter:
    """What training handed over, on this machine, checked by SHA-256."""
    from cbt_ray.training.made import Adapter

    for name, blob in unit.content["adapter"].items():
        bench.store.fetch_blob(Blob.from_json(blob), folder / name, unit.key)
    metrics = unit.content["metrics"]
    return Adapter(folder, metrics["base_sha256"], unit.content["answer_tokens"])


def _beside(bench: Bench, of: Checkpoint, made: Made) -> dict[str, Path]:
    """What people are given beside a GGUF."""
    licences = {f"{LICENCES}{file.name}": file for file in made.base.licences}
    if not bench.study.recipe_of(of).safetensors:
        return licences
    merged = sorted(made.exported.merged.iterdir())
    return {f"safetensors/{file.name}": file for file in merged} | licences


def _compared(bench: Bench, of: Checkpoint, work: Path) -> Unit:
    from cbt_ray.training.made import export_compared

    key, steps = bench.keys.model(of), Steps(bench, Stage.MODEL, of)
    here, source = on_this_machine(bench, of, work)
    with in_recipe(bench, of.model):
        threads, today = available_cpus(), bench.study.told_date
        made = export_compared(here, work, threads=threads, say=steps.part, today=today)
    blob = bench.store.put_blob(key, f"{key.id}.gguf", made.exported.gguf.path)
    made_from = bench.origins.record(key, [])
    return _unit(bench, of, made, [blob], {"gguf": blob.to_json()}, source, made_from)


def _unit(
    bench: Bench,
    of: Checkpoint,
    made: Made,
    blobs: Sequence[Blob],
    content: dict[str, Any],
    source: dict[str, Any],
    made_from: dict[str, str],
) -> Unit:
    verdict = with_upload(bench, made.verdict, blobs)
    content |= {"reference": list(verdict.reference)}
    return unit_of(bench.keys.model(of), content, made.metrics, source, made_from, verdict)


def with_upload(bench: Bench, verdict: Verdict, blobs: Sequence[Blob]) -> Verdict:
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
