"""Simulate: every arm's therapist with every simulated patient.

A job is a chain: its sessions in order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cbt_ray.stages.rejected import retry_sessions
from cbt_ray.study.model import Arm
from cbt_ray.study.patients import SimulatedPatient
from cbt_ray.therapy import dialogue
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.declared import declare
from cbt_ray.work.job import Job
from cbt_ray.work.served import await_served
from cbt_ray.work.survey import must_be_imported
from cbt_ray.work.workplace import Spec, Workplace


def simulate(bench: Bench, *, retry_rejected: bool = False) -> None:
    """Hold every owed session.

    Raises Owed where a model is not exported yet or a session could not be held.
    """
    if retry_rejected:
        retry_sessions(bench)
    survey = bench.renewed(Stage.ADAPTER, Stage.MODEL, Stage.SESSIONS)
    must_be_imported(survey, Stage.SESSIONS)
    owed = set(survey.owed(Stage.SESSIONS))
    if not owed:
        return _enough(bench)
    models = [bench.keys.model(made) for made in bench.keys.therapists]
    adapters = [key for model in models for key in bench.keys.inputs(model)]
    for stage in (Stage.ADAPTER, Stage.MODEL):
        must_be_done(bench, survey, stage, Stage.SESSIONS, {*adapters, *models})
    chains = [(chain, len(set(bench.keys.chain(*chain)) & owed)) for chain in bench.keys.chains()]
    jobs: list[Job] = [
        chain if chain[3] else chain[:3]  # a user who names a job needs no seed where there is one
        for chain, left in sorted(chains, key=lambda one: -one[1])
        if left
    ]
    study = bench.study
    roles = {
        **({"patient": [one]} if (one := study.patient_role) else {}),
        **({"summariser": [one]} if (one := study.summariser) else {}),
        "therapist": [
            study.therapist(arm) for arm in study.arms if any(arm == job[0] for job in jobs)
        ],
    }
    if study.headline_judge not in study.judges:  # who reads a session may rate it
        declare(bench.store, study, datetime.now(UTC))
    await_served(bench.keys, bench.store, [job[0] for job in jobs], bench.progress.say)
    bench.carry_out(Stage.SESSIONS, make_chain, jobs, len(owed), roles)
    return _enough(bench)


def _enough(bench: Bench) -> None:
    bench.require(Stage.SESSIONS, bench.study.minimum.sessions, "simulated sessions done")


def make_chain(spec: Spec, job: Job) -> None:
    """Hold the sessions of a chain, as far as they are owed."""
    arm, patient, replicate, seed = job if len(job) == 4 else (*job, 0)
    with spec.workplace() as place:
        before: Unit | None = None
        for number, key in enumerate(place.keys.chain(arm, patient, replicate, seed), 1):
            before = _session(place, arm, seed, patient, number, key, before)
            if before.status is Status.REJECTED:
                return  # the sessions after it are not reached


def _session(
    place: Workplace,
    arm: Arm,
    seed: int,
    patient: int,
    number: int,
    key: Key,
    before: Unit | None,
) -> Unit:
    study, written = place.study, place.keys.written_as(patient)
    profile = place.known(place.keys.profile(written)) if written else None
    case = dialogue.Case(
        patient=known(study.simulated[patient - 1], profile),
        number=number,
        sessions=study.sessions.count,
        phase=study.phase_of(number),
        opening=before.content["summary"] if before else "",
        seed=key.seed(study.seed),
    )

    def produce() -> dict[str, Any]:
        summariser = place.filled("summariser") if study.summariser else None
        talker = place.filled("patient") if study.patient_role else None
        held = dialogue.hold(
            *(case, study.sessions, place.prompts, study.form_of(arm)),
            *(place.therapist(arm, seed), talker, summariser),
        )
        missed = {"missed": held.missed} if held.missed else {}
        told = {"arm": arm.name, "stop": held.stop, "cut": held.cut, **missed}
        return {**held.session.to_json(), **told}

    made = place.keys.made_for(arm, seed)
    model = [place.model(made)] if made else []
    inputs = [*model, *([profile] if profile else []), *([before] if before else [])]
    return place.make(key, inputs, produce)


def known(patient: SimulatedPatient, profile: Unit | None) -> SimulatedPatient:
    """A patient as the session is held with: of a tested one the generator wrote the profile."""
    if profile is None:
        return patient
    own = {"name": profile.content["name"], "profile": profile.content["narrative"]}
    return patient.model_copy(update=own)
