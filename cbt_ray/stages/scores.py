"""Scores: the table of all scheduled sessions, rated or not and why, by the study's own judge and
by imported ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbt_ray.imports.rows import imported_ratings, scored
from cbt_ray.stages.held import Held
from cbt_ray.study.imported import ABSENT
from cbt_ray.study.model import Arm
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import headline
from cbt_ray.work.survey import Entry, State, Survey

if TYPE_CHECKING:
    from cbt_ray.analysis import ScoreRow


def score_rows(bench: Bench, survey: Survey, held: Held) -> list[ScoreRow]:
    """One row for each scheduled session, view and replicate of the own judge, then those of
    imported judges.
    """
    states = {
        entry.key: entry
        for stage in (Stage.SESSIONS, Stage.RATINGS)
        for entry in survey.stages[stage]
    }
    done = [key for key in bench.keys.ratings() if states[key].state is State.DONE]
    units = {key: unit for key, unit in bench.store.get_many(done) if unit}
    measure = headline(bench.study, bench.prompts).name
    rows = []
    for arm, patient, replicate in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate), 1):
            place = _place(bench, arm, patient, replicate, number) | held.facts(key)
            for view in bench.study.judge.views:
                for judged in range(1, bench.study.judge.replicates + 1):
                    rating = bench.keys.rating(key, view, judged)
                    shown = {"view": view, "heard": held.heard(key, view, bench.study.judge.strip)}
                    told = place | shown | scored(units.get(rating), measure)
                    rows.append(_row(told, states[key], states[rating], judged))
    return rows + imported_ratings(bench, survey, held.facts, held.heard)


def _place(bench: Bench, arm: Arm, patient: int, replicate: int, number: int) -> dict[str, Any]:
    return {
        **{
            "arm": arm.name,
            "model": arm.model,
            "variant": arm.variant,
            "replicate": replicate,
            "session": number,
        },
        "patient": bench.study.patients.simulated[patient - 1].name,
        "phase": bench.study.phase_of(number).name,
    }


def _row(place: dict[str, Any], session: Entry, rating: Entry, judged: int) -> ScoreRow:
    from cbt_ray.analysis import ScoreRow

    reason = None if place["rated"] else _why(session, rating)
    return ScoreRow(session_key=str(session.key), **place, judge_replicate=judged, reason=reason)


def _why(session: Entry, rating: Entry) -> str:
    """Why a scheduled session has no rating."""
    if session.reason == ABSENT:
        return ABSENT
    if session.state is not State.DONE:
        return (
            f"rejected:{session.reason}" if session.state is State.REJECTED else session.state.value
        )
    if rating.state is State.REJECTED:
        return (
            "nothing_to_rate"
            if rating.reason == "nothing_to_rate"
            else f"judge_failed:{rating.reason}"
        )
    return rating.state.value
