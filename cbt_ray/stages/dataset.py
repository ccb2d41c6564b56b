"""Dataset: examples made of all valid course sessions, in splits.

One unit, made in this process; its files are blobs.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from cbt_ray.errors import BelowMinimum
from cbt_ray.stages.example import closed, joined, system_of
from cbt_ray.stages.generate import courses_of
from cbt_ray.store import Blob
from cbt_ray.study.form import Form
from cbt_ray.therapy.form import written
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.therapy.stop import end_mark
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.survey import must_be_imported


def make_dataset(bench: Bench) -> None:
    """Make the dataset of each form, unless it is there.

    Raises Owed where course sessions are owed.
    """
    if not bench.keys.course_chains():
        bench.progress.say("dataset: no arm needs one, since none is tuned on courses")
        return
    survey = bench.renewed(Stage.PROFILES, Stage.COURSES, Stage.DATASET)
    must_be_imported(survey, Stage.PROFILES, Stage.COURSES)
    must_be_done(bench, survey, Stage.COURSES, Stage.DATASET)
    for name, key in bench.keys.datasets().items():
        bench.once(survey, key, partial(_made, bench, key, bench.study.form_named(name)))


def _made(bench: Bench, key: Key, form: Form) -> Unit:
    from cbt_ray.training import dataset

    study = bench.study
    language = load_language(bench.prompts)
    mark = end_mark(language.sessions(study.sessions))

    def system(session: Session) -> str:
        return system_of(study, bench.prompts, session, form)

    def reply(turn: Turn) -> str | None:
        return written(form, turn.text, turn.hidden)

    units = [unit for _, unit in bench.store.get_many(bench.keys.inputs(key)) if unit is not None]
    courses = {}
    for patient, sessions in courses_of(units).items():
        spoken = [
            closed(session, mark) for session in sessions if session.turns_of(Speaker.THERAPIST)
        ]
        if spoken:
            whole = study.dataset.format == "paper"
            courses[patient] = spoken if whole else [joined(session) for session in spoken]
    if not courses:
        raise BelowMinimum(f"{study.file}: dataset: expected valid course sessions, found none")
    splits = dataset.build(courses, study.dataset, system, language.transcript, reply, study.split)
    if study.dataset.held_out and not splits.held_out:
        raise BelowMinimum(
            f"{study.file}: dataset.held_out: expected courses of at least two patients, found "
            f"{len(courses)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        dataset.write(splits, Path(folder))
        files = {
            file.name: bench.store.put_blob(key, file.name, file).to_json()
            for file in sorted(Path(folder).iterdir())
        }
    content = {"format": study.dataset.format, "files": files, "counts": splits.counts}
    return Unit(key, content, made_from={str(unit.key): unit.digest for unit in units})


def fetch_dataset(bench: Bench, key: Key, folder: Path) -> Unit | None:
    """Bring a dataset's files into a folder, checked by their SHA-256.

    Answers the dataset, None where it is owed.
    """
    unit = bench.store.get(key)
    files: dict[str, Any] = unit.content["files"] if unit else {}
    for name, blob in files.items():
        bench.store.fetch_blob(Blob.from_json(blob), folder / name, key)
    return unit
