"""Courses that somebody wrote: a file of them becomes training patients' courses of a study, which
its models are tuned on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.imports.manifest import Manifest, keep, open_study
from cbt_ray.imports.transcript import CourseSession, common_origin, read_sessions, remarks_on
from cbt_ray.imports.units import absent_unit, imported_unit
from cbt_ray.store.store import sha256_of
from cbt_ray.study import Study
from cbt_ray.study.split import profile_id
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.keys import course_id

Say = Callable[[str], object]


def import_courses(file: Path, study_file: Path, overrides: Mapping[str, Any], say: Say) -> None:
    """Store the courses of a file.

    Raises InputError with all that is wrong with the file, or with a study file that has no room.
    """
    lines = read_sessions(file, CourseSession)
    study, manifest = open_study(study_file, overrides, None, say)
    if lacking := list(_no_room(study, lines)):
        raise InputError(*(f"{study_file}: {problem}" for problem in lacking))
    patients = len({one.patient_id for one in lines})
    found = (
        f"{many(len(lines), 'course session')} of {many(patients, 'patient')} in {file.name}"
        f"{common_origin(lines)}"
    )
    remarks = remarks_on(lines)
    remarks["a simulated patient has the same first name"] += len(_namesakes(study, lines))
    keep(study, manifest, list(_units(study, lines, file, manifest)), found, +remarks, say)


def _no_room(study: Study, lines: Sequence[CourseSession]) -> Iterator[str]:
    """What a study file lacks for courses: `field: expected ...`."""
    training, courses = study.patients.training, study.courses
    if training is None or courses is None:
        yield "patients.training, courses: expected both, for the courses that were found"
        return
    for field, room, found in (
        ("patients.training.count", training.count, max(_number(one) for one in lines)),
        ("courses.sessions", courses.sessions, max(one.number for one in lines)),
    ):
        if room < found:
            yield f"{field}: expected at least {found}, it is {room}"


def _number(one: CourseSession) -> int:
    return int(one.patient_id[1:])


def _namesakes(study: Study, lines: Sequence[CourseSession]) -> set[str]:
    """Training patients with the first name of a simulated one: they were to be others."""
    simulated = {patient.name.casefold().split()[0] for patient in study.patients.simulated}
    return {one.patient_id for one in lines if one.patient.casefold().split()[0] in simulated}


def _units(
    study: Study, lines: Sequence[CourseSession], file: Path, manifest: Manifest
) -> Iterator[Unit]:
    """Profiles and sessions, and what stands for those that the file lacks."""
    held = {(_number(one), one.number): one for one in lines}
    profiles = {_number(one): one for one in lines if one.profile is not None}
    made_by = {"file": file.name, "sha256": sha256_of(file)}
    for number in range(1, study.writing.patients.count + 1):
        name, with_profile = profile_id(number), profiles.get(number)
        if with_profile is not None and with_profile.profile is not None:
            said = with_profile.profile.model_dump()
            own = {"name": with_profile.patient, **said, "sent_back": {}}
            yield imported_unit(study, Stage.PROFILES, name, own, made_by)
        elif name not in manifest.content.profiles:
            yield absent_unit(study, Stage.PROFILES, name)
        for session in range(1, study.writing.courses.sessions + 1):
            name, one = course_id(number, session), held.get((number, session))
            if one is not None:
                origin = made_by | one.origin
                yield imported_unit(study, Stage.COURSES, name, _content(study, one), origin)
            elif name not in manifest.content.courses:
                yield absent_unit(study, Stage.COURSES, name)


def _content(study: Study, one: CourseSession) -> dict[str, Any]:
    phase = study.phase_of(one.number).name
    session = Session(one.patient, one.number, phase, one.opening, one.said, one.summary)
    return {**session.to_json(), "patient_id": one.patient_id, "sent_back": {}}
