"""Anybody's transcripts: a file of them becomes sessions of a study, rated and analysed like our
own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.imports.manifest import Manifest, keep, open_study, study_name
from cbt_ray.imports.transcript import Transcript, common_origin, read_sessions, remarks_on
from cbt_ray.imports.units import absent_unit, imported_unit
from cbt_ray.store.store import sha256_of
from cbt_ray.study import Study
from cbt_ray.study.scheduled import session_id
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Stage, Unit

Say = Callable[[str], object]
NOT_PLAYED = "Imported: the sessions with this patient were held elsewhere."
HEAD = """\
# Written by `cbt-ray import sessions` for {found}.
# It is yours: it is never written again. What was imported is in {manifest}, next to this file.
# Give `server` your model's name and address, then:
#   cbt-ray check {file} --call
#   cbt-ray evaluate {file}
"""


def import_sessions(file: Path, study_file: Path, overrides: Mapping[str, Any], say: Say) -> None:
    """Store the transcripts of a file; write the study file where there is none.

    Raises InputError with all that is wrong with the file, or with a study file that has no room.
    """
    transcripts = read_sessions(file, Transcript)
    found = _found(transcripts, file)
    study, manifest = open_study(
        study_file,
        overrides,
        lambda manifest: _composed(transcripts, study_file, manifest, found),
        say,
    )
    if lacking := list(_no_room(study, transcripts)):
        raise InputError(*(f"{study_file}: {problem}" for problem in lacking))
    units = list(_units(study, transcripts, file, manifest))
    keep(study, manifest, units, found, remarks_on(transcripts), say)


def _found(transcripts: Sequence[Transcript], file: Path) -> str:
    arms = len({one.arm for one in transcripts})
    patients = len({one.patient for one in transcripts})
    return (
        f"{many(len(transcripts), 'session')} of {many(arms, 'therapist')} with "
        f"{many(patients, 'patient')} in {file.name}{common_origin(transcripts)}"
    )


def _composed(
    transcripts: Sequence[Transcript], study_file: Path, manifest: Path, found: str
) -> str:
    head = HEAD.format(found=found, manifest=manifest.name, file=study_file.name)
    document = _document(transcripts, study_file, manifest)
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


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
    known = {patient.name for patient in study.simulated}
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
        for patient in study.simulated if arm.name in present else ():
            for replicate in range(1, study.sessions.replicates + 1):
                for number in range(1, study.sessions.count + 1):
                    name = session_id(arm, patient, replicate, number)
                    one = held.get((arm.name, patient.name, replicate, number))
                    if one is not None:
                        content = _content(study, one)
                        origin = made_by | one.origin
                        yield imported_unit(study, Stage.SESSIONS, name, content, origin)
                    elif name not in manifest.content.sessions:
                        yield absent_unit(study, Stage.SESSIONS, name)


def _content(study: Study, one: Transcript) -> dict[str, Any]:
    phase = study.phase_of(one.number).name
    session = Session(one.patient, one.number, phase, one.opening, one.said, one.summary)
    content = {**session.to_json(), "arm": one.arm, "stop": one.stop, "cut": 0}
    return {**content, "details": one.details} if one.details else content
