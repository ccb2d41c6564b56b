"""Lessons: examples made of sessions that people rated, from which a model learns to judge.

One unit a model, made in this process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cbt_ray.errors import BelowMinimum, InputError, PeopleAwaited
from cbt_ray.imports.rows import rates
from cbt_ray.rating.judge import Rating, lessons
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.rating.view import judged_turns, view_text
from cbt_ray.study.lesson import Split, learners, patient_of, split_of
from cbt_ray.study.rater import Judge
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Session
from cbt_ray.training import dataset
from cbt_ray.training.dataset import Example
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.people import handed, said
from cbt_ray.work.rating_id import parse_rating_id
from cbt_ray.work.survey import Survey, must_be_imported


def make_lessons(bench: Bench, model: str) -> None:
    """Make the examples that a model learns to judge from, unless they are there.

    Raises Owed where sessions are owed, PeopleAwaited where ratings are.
    """
    survey = bench.renewed(Stage.SESSIONS, Stage.RATINGS, Stage.DATASET)
    must_be_imported(survey, Stage.SESSIONS, Stage.RATINGS)
    must_be_done(bench, survey, Stage.SESSIONS, Stage.DATASET)
    learns = bench.study.models[model].learns
    for one in handed(survey):
        if learns is not None and one.rater == learns.ratings and (one.owed or not one.rated):
            raise PeopleAwaited(f"models.{model}.learns: {said(bench.study, one)}")
    key = bench.keys.learners[model]
    bench.once(survey, key, partial(_made, bench, survey, model, key))


def _made(bench: Bench, survey: Survey, model: str, key: Key) -> Unit:
    study, split = bench.study, split_of(bench.study, model)
    if not split.held_out:
        raise BelowMinimum(
            f"{study.file}: models.{model}.learns: expected ratings of at least two patients, "
            f"found those of {len(split.train)}"
        )
    found = list(_examples(bench, survey, model, key))
    splits = dataset.Splits(
        "turn",
        [one for one in found if one["patient"] in split.train],
        [one for one in found if one["patient"] in split.held_out],
        [],
    )
    if not splits.train:
        raise InputError(
            f"{study.file}: models.{model}.learns: expected scores of items of the sessions that "
            "are there now, found none"
        )
    with tempfile.TemporaryDirectory() as folder:
        dataset.write(splits, Path(folder))
        files = {
            file.name: bench.store.put_blob(key, file.name, file).to_json()
            for file in sorted(Path(folder).iterdir())
        }
    content = {"format": splits.format, "files": files, "counts": splits.counts, **_listed(split)}
    return Unit(key, content, made_from=survey.record(key))


def _listed(split: Split) -> dict[str, list[str]]:
    return {"patients": sorted(split.train), "held_out_patients": sorted(split.held_out)}


def _examples(bench: Bench, survey: Survey, model: str, key: Key) -> Iterator[Example]:
    """An example for each request of the judge and each rating of a session's words as they are
    now.
    """
    judge, prompts = learners(bench.study)[model], bench.prompts
    entries = {entry.key.id: entry for entry in survey.stages[Stage.SESSIONS]}
    units = {one: unit for one, unit in bench.store.get_many(bench.keys.inputs(key)) if unit}
    scales, unfit = load_scales(prompts, judge.scales), 0
    for one, unit in units.items():
        if one.stage is not Stage.RATINGS:
            continue
        session, _, view, _ = parse_rating_id(one.id)
        if not rates(unit, entries[session]):
            continue
        text = _text(bench, judge, units[entries[session].key], view)
        for asked in lessons(text, scales, judge, prompts, Rating.from_json(unit.content)):
            unfit += not asked.fits
            yield {
                **{"patient": patient_of(session), "session": int(session.rpartition(".s")[2])},
                **{"turn": 1, "rating": one.id},
                "messages": [said.to_json() for said in asked.messages],
            }
    if unfit:
        name = next(name for name, known in bench.study.judges.items() if known is judge)
        raise InputError(
            f"{bench.study.file}: raters.{name}.justification_chars: expected bounds that hold "
            f"what people wrote, or the scale's words where they wrote nothing; found {unfit} "
            "answers beyond them"
        )


def _text(bench: Bench, judge: Judge, session: Unit, view: Any) -> str:
    """What the judge reads of a session."""
    study = bench.study
    turns = judged_turns(Session.from_json(session.content), judge.strip)
    names = {arm.name for arm in study.arms} | set(study.models)
    return view_text(turns, view, names, load_language(bench.prompts))
