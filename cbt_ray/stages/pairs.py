"""Pairs: preference pairs made of the courses, a unit a session.

A job is a session of a course.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cbt_ray.prompts import Prompts
from cbt_ray.stages.example import closed, joined, system_of
from cbt_ray.study import Study
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.pair import choices
from cbt_ray.therapy.session import Session, therapist_messages
from cbt_ray.therapy.stop import end_mark
from cbt_ray.unit import Stage, Status, Unit, canonical
from cbt_ray.work.bench import Bench
from cbt_ray.work.job import Job
from cbt_ray.work.workplace import Spec, Workplace


def make_pairs(bench: Bench) -> None:
    """Make every owed unit of the pairs that a model is trained on.

    Raises Owed where some could not be made.
    """
    if not bench.keys.pairs():
        return
    survey = bench.renewed(Stage.COURSES, Stage.PAIRS)
    owed = set(survey.owed(Stage.PAIRS))
    jobs: list[Job] = [
        (name, number, session)
        for (name, number, session), key in bench.keys.pairs().items()
        if key in owed
    ]
    roles = bench.study.pair_roles
    bench.carry_out(Stage.PAIRS, make_pair, jobs, len(owed), {n: [r] for n, r in roles.items()})


def make_pair(spec: Spec, job: Job) -> None:
    """Make the pairs of one session."""
    name, number, session = str(job[0]), int(job[1]), int(job[2])
    with spec.workplace() as place:
        key = place.keys.pair(name, number, session)
        course = place.known(place.keys.course(number, session))
        if course.status is Status.REJECTED:
            return  # nothing to make pairs of
        held = _learned(place.study, place.prompts, course)
        place.make(key, (course,), lambda: _made(place, name, held, key.seed(place.study.seed)))


def _made(place: Workplace, name: str, session: Session, seed: int) -> dict[str, Any]:
    block = place.study.pairs[name]
    form = place.study.form_named(block.form)
    found, left_out = choices(
        session,
        system_of(place.study, place.prompts, session, form),
        form,
        place.filled(f"pairs.{name}.chosen") if block.chosen else None,
        place.filled(f"pairs.{name}.rejected"),
        load_language(place.prompts).transcript,
        seed,
    )
    return {"pairs": [asdict(choice) for choice in found], "left_out": left_out}


def _learned(study: Study, prompts: Prompts, course: Unit) -> Session:
    """A course's session as the dataset has it, so that both methods learn the same answers."""
    mark = end_mark(load_language(prompts).sessions(study.sessions))
    return joined(closed(Session.from_json(course.content), mark))


def write_pairs(bench: Bench, name: str, patients: Collection[str], file: Path) -> int:
    """Write the pairs of some training patients into a file, as training reads them.

    Answers how many there are.
    """
    count = 0
    words = load_language(bench.prompts).transcript
    form = bench.study.form_named(bench.study.pairs[name].form)
    known = {key: place for place, key in bench.keys.pairs().items() if place[0] == name}
    courses = bench.store.get_many(bench.keys.course(*place[1:]) for place in known.values())
    with file.open("wb") as lines:
        for (_, unit), (_, course) in zip(bench.store.get_many(known), courses, strict=True):
            if unit is None or course is None or course.content["patient_id"] not in patients:
                continue
            held = _learned(bench.study, bench.prompts, course)
            system = system_of(bench.study, bench.prompts, held, form)
            for choice in unit.content["pairs"]:
                before = held.turns[: choice["turn"]]
                messages = therapist_messages(system, held.opening, before, words)
                line = {
                    "messages": [message.to_json() for message in messages],
                    **{side: choice[side] for side in ("chosen", "rejected")},
                }
                lines.write(canonical(line) + b"\n")
                count += 1
    return count
