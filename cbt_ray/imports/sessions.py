"""Anybody's transcripts: a file of them becomes sessions of a study, rated and analysed like our
own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.errors import InputError
from cbt_ray.imports.manifest import (
    Manifest,
    default_for,
    line_for,
    named_in,
    read_manifest,
    write_whole,
)
from cbt_ray.imports.study_file import study_name
from cbt_ray.imports.transcript import Transcript, read_transcripts
from cbt_ray.imports.units import absent_unit, imported_unit, store_units
from cbt_ray.store import open_store
from cbt_ray.store.store import sha256_of
from cbt_ray.study import Study, load_study
from cbt_ray.study.scheduled import session_id
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.inputs import at

Say = Callable[[str], object]
NOT_PLAYED = "Imported: the sessions with this patient were held elsewhere."
HEAD = """\
# yaml-language-server: $schema=study.schema.json
# Written by `cbt-ray import sessions` for {found}.
# It is yours: it is never written again. What was imported is in {manifest}, beside this file.
# Give `server` your model's name and address, then:
#   cbt-ray check {file} --call
#   cbt-ray evaluate {file}
"""


def import_sessions(file: Path, study_file: Path, overrides: Mapping[str, Any], say: Say) -> None:
    """Store the transcripts of a file; write the study file where there is none.

    Raises InputError with all that is wrong with the file, or with a study file that has no room.
    """
    transcripts = read_transcripts(file)
    found = _found(transcripts, file)
    study, manifest = _study(transcripts, study_file, overrides, found, say)
    units = list(_units(study, transcripts, file, manifest))
    with at(study):
        store = open_store(study.store)
        store.check()
    stored = store_units(store, study, units)
    filled = manifest.with_sessions(units, found)
    written = "written" if filled.write() else "is as it was"
    for remark, count in _remarks(transcripts).items():
        say(f"imported, but {remark}: {count}")
    say(f"{found}: {stored.units} units, {stored.new} of them new, in {store.url}")
    say(f"{filled.file} {written}")


def _found(transcripts: Sequence[Transcript], file: Path) -> str:
    arms = len({one.arm for one in transcripts})
    patients = len({one.patient for one in transcripts})
    return (
        f"{_count(len(transcripts), 'session')} of {_count(arms, 'therapist')} with "
        f"{_count(patients, 'patient')} in {file.name}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _study(
    transcripts: Sequence[Transcript],
    study_file: Path,
    overrides: Mapping[str, Any],
    found: str,
    say: Say,
) -> tuple[Study, Manifest]:
    """The study, written first where there is none, and its manifest."""
    if not study_file.exists():
        manifest = default_for(study_file)
        head = HEAD.format(found=found, manifest=manifest.name, file=study_file.name)
        body = yaml.safe_dump(
            _document(transcripts, study_file, manifest),
            sort_keys=False,
            allow_unicode=True,
            width=100,
        )
        try:
            write_whole(study_file, f"{head}{body}".encode())
        except OSError as error:
            raise InputError(
                f"{study_file}: expected a place that can be written ({error.strerror})"
            ) from None
        try:
            study = load_study(study_file, dict(overrides), without=("imported",))
        except InputError:
            study_file.unlink()  # --set was wrong, or what the transcripts name
            raise
        say(f"{study_file} written, for what was found")
        return study, read_manifest(manifest)
    named = named_in(study_file)
    if named is None:
        wanted = line_for(study_file, default_for(study_file))
        raise InputError(
            f"{study_file}: imported: expected the line `{wanted}`, add it and import again"
        )
    study = load_study(study_file, dict(overrides), without=("imported",))
    problems = [f"{study_file}: {problem}" for problem in _no_room(study, transcripts)]
    if problems:
        raise InputError(*problems)
    return study, read_manifest(named)


def _document(
    transcripts: Sequence[Transcript], study_file: Path, manifest: Path
) -> dict[str, Any]:
    """A study file for transcripts: who spoke with whom, what is compared, a server that rates."""
    arms = {one.arm: dict(one.factors) for one in transcripts}
    names = list(arms)
    if len(names) > 1 and not any(arms.values()):
        arms = {name: {"therapist": name} for name in names}
    document: dict[str, Any] = {
        "study": study_name(study_file),
        "description": f"How are the sessions in {manifest.name.split('.')[0]} rated?",
        "seed": 1,
        "store": "runs",
        "imported": manifest.name,
        "endpoints": {
            "server": {
                "kind": "litellm",
                "model": "openai/your-model-name",
                "api_base": "http://localhost:8000/v1",
                "price": [0, 0],
            }
        },
        "roles": {role: {"endpoint": "server"} for role in ("therapist", "patient", "summariser")},
        "raters": {
            "judge": {
                "endpoint": "server",
                "sampling": {"max_tokens": 2000},
                "scales": ["ctrs"],
            }
        },
        "arms": [
            {"name": name, **({"factors": levels} if levels else {})}
            for name, levels in arms.items()
        ],
        "patients": {
            "simulated": [
                {"name": name, "profile": NOT_PLAYED}
                for name in dict.fromkeys(one.patient for one in transcripts)
            ]
        },
        "sessions": {
            "count": max(one.number for one in transcripts),
            "replicates": max(one.replicate for one in transcripts),
        },
    }
    if len(names) == 1:
        document["analysis"] = {"contrasts": []}
    elif len(names) > 2 and all(levels == {"therapist": name} for name, levels in arms.items()):
        document["analysis"] = {"contrasts": list(_each_with_the_first(names))}
    return document


def _each_with_the_first(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    first, *others = names
    for name in others:
        yield {"name": name, "plus": {"therapist": name}, "minus": {"therapist": first}}


def _no_room(study: Study, transcripts: Sequence[Transcript]) -> Iterator[str]:
    """What a study file lacks for transcripts: `field: expected ...`."""
    arms = {arm.name for arm in study.arms}
    for name in dict.fromkeys(one.arm for one in transcripts if one.arm not in arms):
        yield f"arms: expected {name!r}, whose sessions were found; there are {sorted(arms)}"
    known = {patient.name for patient in study.patients.simulated}
    lacking = list(dict.fromkeys(one.patient for one in transcripts if one.patient not in known))
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if lacking[1:] else ""
        yield f"patients.simulated: expected {lacking[0]!r}, whose sessions were found{more}"
    for field, room, found in (
        ("count", study.sessions.count, max(one.number for one in transcripts)),
        ("replicates", study.sessions.replicates, max(one.replicate for one in transcripts)),
    ):
        if room < found:
            yield f"sessions.{field}: expected at least {found}, it is {room}"


def _units(
    study: Study, transcripts: Sequence[Transcript], file: Path, manifest: Manifest
) -> Iterator[Unit]:
    """The sessions, and what stands for those of the same therapists that the file lacks."""
    held = {(one.arm, one.patient, one.replicate, one.number): one for one in transcripts}
    made_by = {"file": file.name, "sha256": sha256_of(file)}
    present = {one.arm for one in transcripts}
    for arm in study.arms:
        for patient in study.patients.simulated if arm.name in present else ():
            for replicate in range(1, study.sessions.replicates + 1):
                for number in range(1, study.sessions.count + 1):
                    name = session_id(arm, patient, replicate, number)
                    one = held.get((arm.name, patient.name, replicate, number))
                    if one is not None:
                        content = _content(study, one)
                        yield imported_unit(study, Stage.SESSIONS, name, content, made_by)
                    elif name not in manifest.content.sessions:
                        yield absent_unit(study, Stage.SESSIONS, name)


def _content(study: Study, one: Transcript) -> dict[str, Any]:
    phase = study.phase_of(one.number).name
    session = Session(one.patient, one.number, phase, one.opening, one.said, one.summary)
    return {**session.to_json(), "arm": one.arm, "stop": one.stop, "cut": 0}


def _remarks(transcripts: Sequence[Transcript]) -> Counter[str]:
    """What is out of the ordinary, and how many sessions have it."""
    found: Counter[str] = Counter()
    for one in transcripts:
        speakers = [turn.speaker for turn in one.turns]
        for speaker in Speaker:
            found[f"the {speaker} says nothing"] += speaker not in speakers
        found["one speaker has two turns in a row"] += any(a == b for a, b in pairwise(speakers))
    return +found
