"""Scores: the table of all scheduled sessions, rated or not and why, by the study's own judge and
by imported ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cbt_ray.imports.rows import imported_ratings, scheduled, scored, unrated
from cbt_ray.stages.held import Held
from cbt_ray.study.imported import ABSENT
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
    states = {entry.key: entry for entry in survey.stages[Stage.RATINGS]}
    done = [key for key in bench.keys.ratings() if states[key].state is State.DONE]
    units = {key: unit for key, unit in bench.store.get_many(done) if unit}
    measure = headline(bench.study, bench.prompts).name
    rows = []
    for place in scheduled(bench, survey):
        key = place.entry.key
        facts = held.facts(key)
        for judge, view, judged in bench.keys.judgements:
            rating = bench.keys.rating(key, judge, view, judged)
            why = _why(place.entry, states[rating])
            row = unrated(bench, place, facts, judge, "model", view, judged, reason=why)
            if rating in units:
                row = scored(row, units[rating], measure, prefix_of(bench.study, judge))
            read = held.heard(key, view, bench.study.raters[judge].strip)
            rows.append(replace(row, heard=read))
    return rows + imported_ratings(bench, survey, held.facts, held.heard)


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
