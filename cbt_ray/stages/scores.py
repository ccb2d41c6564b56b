"""Scores: the table of all scheduled sessions, rated or not and why, by the study's own judge and
by imported ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbt_ray.imports.rows import imported_ratings
from cbt_ray.stages.held import Held
from cbt_ray.study.imported import ABSENT
from cbt_ray.study.model import Arm
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench
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
    rows = []
    for arm, patient, replicate in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate), 1):
            place = _place(bench, arm, patient, replicate, number) | held.facts(key)
            for view in bench.study.judge.views:
                for judged in range(1, bench.study.judge.replicates + 1):
                    rating = bench.keys.rating(key, view, judged)
                    shown = {"view": view, "heard": held.heard(key, view, bench.study.judge.strip)}
                    rows.append(
                        _row(place | shown, states[key], states[rating], units.get(rating), judged)
                    )
    return rows + imported_ratings(bench, survey, held.facts, held.heard)


def _place(bench: Bench, arm: Arm, patient: int, replicate: int, number: int) -> dict[str, Any]:
    return {
        **{
            "arm": arm.name,
            "factors": {"model": arm.model, "variant": arm.variant},
            "replicate": replicate,
            "session": number,
        },
        "patient": bench.study.patients.simulated[patient - 1].name,
        "phase": bench.study.phase_of(number).name,
    }


def _row(
    place: dict[str, Any], session: Entry, rating: Entry, unit: Unit | None, judged: int
) -> ScoreRow:
    from cbt_ray.analysis import ScoreRow

    key: Key = session.key
    scores = {name: item["score"] for name, item in unit.content["items"].items()} if unit else {}
    return ScoreRow(
        session_key=str(key),
        **place,
        judge_replicate=judged,
        rated=unit is not None,
        reason=None if unit else _why(session, rating),
        items=scores,
        total=unit.content["total"] if unit else None,
    )


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
