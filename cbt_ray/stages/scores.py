"""Scores: the table of all scheduled sessions, rated or not and why, by the study's own judges, by
its rules and by people or judges whose ratings were imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cbt_ray.imports.rows import (
    NOTHING_TO_RATE,
    OTHER_SCALE,
    imported_ratings,
    scored,
    why_without,
)
from cbt_ray.rating.measure import Value
from cbt_ray.stages.held import Held
from cbt_ray.study.imported import ABSENT
from cbt_ray.study.model import Arm
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import headline, prefix_of
from cbt_ray.work.survey import Entry, State, Survey

if TYPE_CHECKING:
    from cbt_ray.analysis import ScoreRow


def score_rows(bench: Bench, survey: Survey, held: Held) -> list[ScoreRow]:
    """One row for each scheduled session, rater, view and replicate, then those of imported
    judges.
    """
    from cbt_ray.analysis import ScoreRow

    states = {
        entry.key: entry
        for stage in (Stage.SESSIONS, Stage.RATINGS)
        for entry in survey.stages[stage]
    }
    done = [key for key in bench.keys.ratings() if states[key].state is State.DONE]
    units = {key: unit for key, unit in bench.store.get_many(done) if unit}
    measure = headline(bench.study, bench.prompts).name
    counts = {name: held.counted(name) for name in bench.study.rulebooks}
    rows = []
    for arm, patient, replicate, seed in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate, seed), 1):
            place = _place(bench, arm, patient, replicate, number, seed) | held.facts(key)
            for judge, view, judged in bench.keys.judgements:
                rating = bench.keys.rating(key, judge, view, judged)
                unit, prefix = units.get(rating), prefix_of(bench.study, judge)
                heard = held.heard(key, view, bench.study.judges[judge].strip)
                reason = _why(states[key], states[rating])
                rows.append(
                    ScoreRow(
                        session_key=str(key),
                        judge=judge,
                        view=view,
                        heard=heard,
                        judge_replicate=judged,
                        reason=why_without(unit, measure, prefix) if unit else reason,
                        **place,
                        **scored(unit, measure, prefix),
                    )
                )
            for name in counts:
                rows.append(
                    ScoreRow(
                        session_key=str(key),
                        judge=name,
                        kind="rule",
                        view=bench.study.views[0],
                        judge_replicate=1,
                        **place,
                        **_counted(
                            states[key],
                            prefix_of(bench.study, name),
                            counts[name].get(key),
                            measure,
                        ),
                    )
                )
    return rows + imported_ratings(bench, survey, held.facts, held.heard)


def _counted(
    session: Entry, prefix: str, found: Mapping[str, Value] | None, measure: str
) -> dict[str, Any]:
    """The fields of a row by what rules counted in a session; None where it was not held."""
    if found is None:
        return {"rated": False, "reason": _why_not_held(session) or NOTHING_TO_RATE}
    named = {prefix + name: value for name, value in found.items()}
    own = named.get(measure)
    return {
        "rated": True,
        "measures": {name: value.value for name, value in named.items()},
        "unmeasured": {name: value.reason for name, value in named.items() if value.reason},
        "total": own.value if own else None,
        "reason": own.reason if own else OTHER_SCALE,
    }


def _place(
    bench: Bench, arm: Arm, patient: int, replicate: int, number: int, seed: int
) -> dict[str, Any]:
    return {
        **{
            "arm": arm.name,
            "factors": dict(bench.keys.factors[arm.name]),
            "seed": seed,
            "replicate": replicate,
            "session": number,
        },
        "patient": bench.study.patients.simulated[patient - 1].name,
        "phase": bench.study.phase_of(number).name,
    }


def _why_not_held(session: Entry) -> str | None:
    if session.reason == ABSENT:
        return ABSENT
    if session.state is State.DONE:
        return None
    return f"rejected:{session.reason}" if session.state is State.REJECTED else session.state.value


def _why(session: Entry, rating: Entry) -> str:
    """Why a scheduled session has no rating."""
    if (why := _why_not_held(session)) is not None:
        return why
    if rating.state is State.REJECTED:
        return (
            NOTHING_TO_RATE if rating.reason == NOTHING_TO_RATE else f"judge_failed:{rating.reason}"
        )
    return rating.state.value
