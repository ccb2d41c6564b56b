"""Rate: the judge reads each session and each probe, blind and in shuffled order.

A job is one judgement.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cbt_ray.errors import ModelFailure
from cbt_ray.rating.judge import rate
from cbt_ray.rating.probe import NOTHING_TO_RATE, VIEW
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.rating.view import heard, judged_turns, view_text
from cbt_ray.stages.probe import probe_content
from cbt_ray.stages.rejected import retry_ratings
from cbt_ray.study.endpoint import Role
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Key, Stage, Unit, digest
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.declared import declare
from cbt_ray.work.job import Job
from cbt_ray.work.survey import must_be_imported
from cbt_ray.work.workplace import Spec, Workplace


def rate_sessions(bench: Bench, *, retry_rejected: bool = False) -> None:
    """Make every owed judgement.

    Raises Owed where sessions are still owed or the judge could not be reached.
    """
    survey = bench.renewed(Stage.SESSIONS, Stage.RATINGS)
    must_be_imported(survey, Stage.SESSIONS, Stage.RATINGS)
    must_be_done(bench, survey, Stage.SESSIONS, Stage.RATINGS)
    if retry_rejected:
        retry_ratings(bench)
        survey = bench.survey(Stage.SESSIONS, Stage.RATINGS)
    owed = set(survey.owed(Stage.RATINGS))
    jobs: list[Job] = [
        (session, *judgement)
        for session in bench.keys.sessions()
        for judgement in bench.keys.judgements_of(session)
        if bench.keys.rating(session, *judgement) in owed
    ]
    jobs += [
        (session, bench.study.probed or "", VIEW + name, 1)
        for session, name in bench.keys.probes()
        if bench.keys.probe(session, name) in owed
    ]
    if jobs:  # what is declared now stands before the first rating
        declare(bench.store, bench.study, datetime.now(UTC))
    # Shuffled by the seed: neither arm nor session number can be told from the order in which the
    # judge reads.
    jobs.sort(key=lambda job: digest([bench.study.seed, str(job[0]), *job[1:]]))
    asked: dict[str, list[Role]] = {
        name: [bench.study.judges[name]] for name in sorted({job[1] for job in jobs})
    }
    bench.carry_out(Stage.RATINGS, make_rating, jobs, len(jobs), asked)


def make_rating(spec: Spec, job: Job) -> None:
    """Make one judgement."""
    session, rater, view, replicate = job
    with spec.workplace() as place:
        if view.startswith(VIEW):
            name = view.removeprefix(VIEW)
            key = place.keys.probe(session, name)
            held = {one: place.known(one) for one in place.keys.inputs(key)}
            place.make(key, held.values(), lambda: probe_content(place, key, session, name, held))
            return
        if place.keys.knows(rater, session):
            raise ValueError(f"{rater} learned from what people said of {session.id}")
        key, unit = place.keys.rating(session, rater, view, replicate), place.known(session)
        made = place.study.judges[rater].made
        inputs = [unit, *([place.model(made)] if made else [])]
        place.make(key, inputs, lambda: _rating(place, key, unit, rater, view))


def _rating(place: Workplace, key: Key, session: Unit, rater: str, view: Any) -> dict[str, Any]:
    study, judge = place.study, place.study.judges[rater]
    turns = judged_turns(Session.from_json(session.content), judge.strip)
    language = load_language(place.prompts)
    if not heard(turns, view, language):
        raise ModelFailure(NOTHING_TO_RATE, "no word of the therapist")
    names = {arm.name for arm in study.arms} | set(study.models)
    filled, scales = place.filled(rater), load_scales(place.prompts, judge.scales)
    text = view_text(turns, view, names, language)
    rating = rate(text, scales, judge, place.prompts, filled.ask, key.seed(study.seed))
    return {"judge": rater, "view": view, **rating.to_json()}
