"""Train: the adapter of every model that is tuned.

One model a job, in this process.

Checkpoints go to the store; a rerun, also on another machine, goes on from the last one. They go
once the adapter is there, which is all that the export needs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cbt_ray.errors import InputError, Owed
from cbt_ray.llm.gguf_file import PACKAGE
from cbt_ray.reading import read_json
from cbt_ray.stages.dataset import fetch_dataset
from cbt_ray.stages.fetch import on_this_machine, required_weights
from cbt_ray.stages.judged import (
    DIVERGED,
    in_recipe,
    listed,
    make_each,
    settle_each,
    stored,
    unit_of,
    wanted,
)
from cbt_ray.stages.lessons import make_lessons
from cbt_ray.stages.pairs import write_pairs
from cbt_ray.stages.published import publish, withdraw
from cbt_ray.stages.rejected import retry_adapters
from cbt_ray.stages.searched import candidates_of, fell, loss_of
from cbt_ray.stages.steps import Steps
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.pairs import MADE
from cbt_ray.study.recipe import Recipe, is_hub_id, pairs_of
from cbt_ray.training.checkpoint import StoreCheckpoints, clear_checkpoints
from cbt_ray.unit import Key, Stage, Status, Unit, digest
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.engine import available_cpus
from cbt_ray.work.inputs import at, check_recipes
from cbt_ray.work.preferences import bring
from cbt_ray.work.survey import Survey
from cbt_ray.work.workshop import local_file

if TYPE_CHECKING:
    from cbt_ray.training.live import Live
    from cbt_ray.training.tuned import Tuned


def train(bench: Bench, model: str | None = None, *, retry_rejected: bool = False) -> None:
    """Make every owed adapter, of one model or of all but those that learn from ratings.

    Raises Owed where the dataset or a base model's weights are owed, or SIGTERM ended a training;
    GateFailed where a base was found unfit, now or earlier; `retry_rejected` tries those again.
    """
    tuned = [made for made in wanted(bench, model) if made.tuned]
    trained = [one for made in tuned for one in bench.study.candidates(made)]
    if not tuned:
        bench.progress.say(
            f"train: nothing to train: no arm needs {model or 'a model'} to be tuned"
        )
        return
    if retry_rejected:
        retry_adapters(bench, model)
    if model in bench.keys.learners:
        make_lessons(bench, model)
    survey = bench.renewed(Stage.PAIRS, Stage.DATASET, Stage.ADAPTER)
    due = set(survey.owed(Stage.ADAPTER))
    owed = [one for one in trained if bench.keys.adapter(one) in due]
    if owed:
        _make(bench, survey, owed)
        _point_again(bench, tuned)
    settle_each(tuned, partial(_settle, bench))


def _make(bench: Bench, survey: Survey, owed: list[Checkpoint]) -> None:
    needed = {key for made in owed for key in bench.keys.inputs(bench.keys.adapter(made))}
    for stage in (Stage.PAIRS, Stage.DATASET):
        must_be_done(bench, survey, stage, Stage.ADAPTER, needed)
    bench.check_store()
    check_recipes(bench.study, owed)
    required_weights(bench, owed)
    for made in dict.fromkeys(one.model_of for one in owed):
        withdraw(bench, made)
    then = partial(clear_checkpoints, bench.store)
    make_each(bench, Stage.ADAPTER, owed, partial(_tune, bench), then)


def _point_again(bench: Bench, tuned: list[Checkpoint]) -> None:
    """To models that were withdrawn, and whose adapters came out as before."""
    outdated = {head.key for head, _ in bench.survey(Stage.ADAPTER, Stage.MODEL).outdated()}
    for made in tuned:
        unit = bench.store.get(bench.keys.model(made))
        if unit is not None and unit.status is Status.DONE and unit.key not in outdated:
            publish(bench, made, unit)


def _settle(bench: Bench, made: Checkpoint) -> None:
    """What comes after the units of its adapters, also where a run was killed before it got
    here.
    """
    candidates = candidates_of(bench, made)
    for one in candidates:
        if one.unit is not None:
            clear_checkpoints(bench.store, one.unit.key)
    if failed := fell(bench, made, candidates):
        raise failed


def _lost(unit: Unit) -> Unit:
    """Of a candidate that no loss can choose."""
    return replace(unit, status=Status.REJECTED, reason=DIVERGED)


def _tune(bench: Bench, of: Checkpoint, work: Path) -> Unit:
    from cbt_ray.training.backend.job import Diverged
    from cbt_ray.training.tuned import Unfit

    key, recipe = bench.keys.adapter(of), bench.study.recipe_of(of)
    bring_dataset(bench, key, work / "dataset")
    units = [unit for _, unit in bench.store.get_many(bench.keys.inputs(key)) if unit]
    made_from = bench.origins.record(key, units)
    checkpoints = StoreCheckpoints(bench.store, key, work / "checkpoints", _of(units))
    here, source = on_this_machine(bench, of, work)
    pairs = _pairs(bench, of, work)
    with _live(bench, of) as live:
        try:
            tuned = _tuned(bench, of, here, work, checkpoints, pairs, live)
        except Unfit as error:
            return unit_of(key, {}, {}, source, made_from, error.verdict)
        except Diverged as error:
            if bench.study.models[of.model].recipe.search is None:
                raise
            bench.progress.say(f"{Stage.ADAPTER}: {of.title}: {error}")
            return _lost(unit_of(key, {}, {}, source, made_from))
    if bench.study.models[of.model].recipe.search and loss_of(tuned.metrics) is None:
        return _lost(unit_of(key, {}, tuned.metrics, source, made_from))
    files = _adapter_files(tuned.adapter, recipe.start, source.get("commit"))
    content = {
        "adapter": listed(stored(bench, key, files)),
        "answer_tokens": tuned.answer_tokens,
        "template": asdict(tuned.base.template),
    }
    return unit_of(key, content, tuned.metrics, source, made_from)


def _tuned(
    bench: Bench,
    of: Checkpoint,
    here: Recipe,
    work: Path,
    checkpoints: StoreCheckpoints,
    pairs: tuple[Path | None, Path | None],
    live: Live,
) -> Tuned:
    from cbt_ray.training.tuned import tune

    steps = Steps(bench, Stage.ADAPTER, of, live)
    with in_recipe(bench, of.model):
        return tune(
            *(here, work / "dataset", work, checkpoints, steps),
            preferences=pairs[0],
            held_out_preferences=pairs[1],
            threads=available_cpus(),
            say=steps.part,
            today=bench.study.told_date,
        )


def _live(bench: Bench, of: Checkpoint) -> Live:
    from cbt_ray.training.live import Live

    tensorboard = bench.study.recipe_of(of).tensorboard
    with at(bench.study, f"models.{of.model}.recipe.tensorboard"):
        return Live(bench.store, bench.keys.adapter(of), tensorboard=tensorboard)


def bring_dataset(bench: Bench, adapter: Key, folder: Path) -> None:
    """Bring what an adapter is trained on into a folder. Raises Owed where it is not there."""
    examples = next(one for one in bench.keys.inputs(adapter) if one.stage is Stage.DATASET)
    if fetch_dataset(bench, examples, folder) is None:
        raise Owed(
            f"{adapter.stage}: {examples} is owed; run first: {bench.command(Stage.DATASET)}"
        )


def _of(units: Sequence[Unit]) -> str:
    """What a training is of: one that was broken off goes on with the same alone."""
    digests = [unit.digest for unit in units]
    return digests[0] if len(digests) == 1 else digest(digests)


def _pairs(bench: Bench, of: Checkpoint, work: Path) -> tuple[Path | None, Path | None]:
    """The files of pairs that are trained on, and of held-out ones, where there are any."""
    recipe = bench.study.recipe_of(of)
    with at(bench.study, f"models.{of.model}.recipe.preferences"):
        if pairs_of(recipe) is not None:
            return _made_pairs(bench, recipe, work)
        read = partial(local_file, bench.store)
        return bring(bench.study, bench.store, recipe, read), None


def _made_pairs(bench: Bench, recipe: Recipe, work: Path) -> tuple[Path, Path | None]:
    """Files of the pairs that the study made, of the patients that are trained on and of held-out
    ones, where there are any.
    """
    from cbt_ray.training.dataset import read

    name, splits = pairs_of(recipe) or "", read(work / "dataset")
    seen, unseen = ({one["patient"] for one in part} for part in (splits.train, splits.held_out))
    file, other = work / "pairs.jsonl", work / "held_out_pairs.jsonl"
    if not write_pairs(bench, name, seen, file):
        raise InputError(
            "expected at least one pair of the patients that are trained on "
            f"({len(seen)}), {MADE}{name} has none"
        )
    return file, other if write_pairs(bench, name, unseen - seen, other) else None


def _adapter_files(adapter: Path, start: str, commit: str | None) -> dict[str, Path]:
    """The adapter's files without the README that PEFT writes beside them, which quotes paths of
    this machine.
    """
    named = start if is_hub_id(start) or start.startswith(PACKAGE) else Path(start).name
    _settle_config(adapter / "adapter_config.json", named, commit)
    return {
        file.name: file
        for file in sorted(adapter.iterdir())
        if file.suffix in {".json", ".safetensors"}
    }


def _settle_config(file: Path, start: str, commit: str | None) -> None:
    """Name what training started from in place of a folder of this machine, and sort what PEFT
    writes in the order of a set.
    """
    config = read_json(file)
    config["base_model_name_or_path"] = start
    config["revision"] = commit
    config["target_modules"] = sorted(config["target_modules"])
    file.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
