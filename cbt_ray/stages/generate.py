"""Generate: training patients' profiles and their courses, and preference pairs made of them.

A job is a course: profile first, then its sessions in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cbt_ray.stages.alike import write_distinct
from cbt_ray.stages.pairs import make_pairs
from cbt_ray.stages.profile import write_profile
from cbt_ray.stages.rejected import retry_courses
from cbt_ray.study.split import profile_id
from cbt_ray.therapy import course, turnwise
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.job import Job
from cbt_ray.work.survey import State, must_be_imported
from cbt_ray.work.workplace import Spec, Workplace


def generate(bench: Bench, *, retry_rejected: bool = False) -> None:
    """Make every owed profile and course session.

    Raises BelowMinimum where too few sessions are valid, Owed where some could not be made.
    """
    if not bench.keys.course_chains():
        bench.progress.say("generate: no arm needs courses, since none is tuned on them")
        return
    if retry_rejected:
        retry_courses(bench)
    survey = bench.renewed(Stage.PROFILES, Stage.COURSES)
    must_be_imported(survey, Stage.PROFILES, Stage.COURSES)
    if write_distinct(bench):
        survey = bench.renewed(Stage.PROFILES, Stage.COURSES)
    chains: dict[int, int] = {}
    for entry in survey.stages[Stage.PROFILES] + survey.stages[Stage.COURSES]:
        if entry.state is State.OWED:
            number = int(entry.key.id.split(".")[0][1:])
            chains[number] = chains.get(number, 0) + 1
    jobs: list[Job] = [(number,) for number in sorted(chains, key=lambda n: -chains[n])]
    owed = len(survey.owed(Stage.COURSES))
    roles = {name: [role] for name, role in bench.study.writing.roles.items()}
    bench.carry_out(Stage.COURSES, make_course, jobs, owed, roles)
    bench.require(Stage.COURSES, bench.study.minimum.courses, "course sessions valid")
    make_pairs(bench)


def make_course(spec: Spec, job: Job) -> None:
    """Make a training patient's profile and all sessions of the course, as far as they are owed."""
    with spec.workplace() as place:
        number = int(job[0])
        patient = place.make(place.keys.profile(number), (), lambda: write_profile(place, number))
        if patient.status is Status.REJECTED:
            return
        before: Unit | None = None
        for session in range(1, place.study.writing.courses.sessions + 1):
            before = _session(place, number, session, patient, before)
            if before.status is Status.REJECTED:
                return  # the sessions after it are not reached


def _session(
    place: Workplace, number: int, session: int, patient: Unit, before: Unit | None
) -> Unit:
    study, key = place.study, place.keys.course(number, session)
    brief = course.Brief(
        patient=patient.content["name"],
        narrative=patient.content["narrative"],
        number=session,
        sessions=study.writing.courses.sessions,
        phase=study.phase_of(session),
        opening=before.content["summary"] if before else "",
        case=patient.content["narrative"].strip() if study.sessions.opener == "case" else "",
    )

    def produce() -> dict[str, Any]:
        made = _by_turns if study.writing.courses.write == "turns" else _by_parts
        return {**made(place, brief, key.seed(study.seed)), "patient_id": profile_id(number)}

    inputs = (patient, before) if before else (patient,)
    return place.make(key, inputs, produce)


def _by_parts(place: Workplace, brief: course.Brief, seed: int) -> dict[str, Any]:
    filled, courses = place.filled("generator"), place.study.writing.courses
    written, sent_back = course.write_session(
        brief, courses, place.prompts, filled.role, filled.ask, seed
    )
    return {**written.to_json(), "sent_back": sent_back}


def _by_turns(place: Workplace, brief: course.Brief, seed: int) -> dict[str, Any]:
    writing = place.study.writing
    writers = turnwise.Writers(
        place.filled("generator"),
        place.filled("course_patient" if place.study.roles.course_patient else "generator"),
        place.filled("critic") if writing.critic else None,
    )
    made = turnwise.write_turns(brief, writing.courses, writing.form, place.prompts, writers, seed)
    verdicts = {"verdicts": made.verdicts} if made.verdicts else {}
    return {**made.session.to_json(), "sent_back": made.sent_back, **verdicts}


def courses_of(units: Iterable[Unit]) -> dict[str, list[Session]]:
    """The valid sessions among these units, by the patient's id."""
    found: dict[str, list[Session]] = {}
    for unit in units:
        if unit.status is Status.DONE:
            found.setdefault(unit.content["patient_id"], []).append(Session.from_json(unit.content))
    return found
