"""Scores: the table of all scheduled sessions, rated or not and why, by the study's own judges, by
its rules and by people or judges whose ratings were imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cbt_ray.imports.rows import (
    NOTHING_TO_RATE,
    OTHER_SCALE,
    Scheduled,
    imported_ratings,
    scheduled,
    scored,
    unrated,
)
from cbt_ray.rating.measure import Value
from cbt_ray.stages.held import Held
from cbt_ray.study import Study
from cbt_ray.study.imported import ABSENT
from cbt_ray.unit import Key, Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import headline, prefix_of
from cbt_ray.work.survey import Entry, State, Survey

NO_JUDGE = "judge_failed:not_trained"
LEARNED_FROM = "learned_from"
"""Why a judge never rates a session: it learned from what people said of the patient."""

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
    counts = {name: held.counted(name) for name in bench.study.rulebooks}
    rows = []
    for place in scheduled(bench, survey):
        key = place.entry.key
        facts = held.facts(key)
        for judge, view, judged in bench.keys.judgements:
            rating = bench.keys.rating(key, judge, view, judged)
            knows = bench.keys.knows(judge, key)
            why = LEARNED_FROM if knows else _why(place.entry, states[rating])
            row = unrated(bench, place, facts, judge, "model", view, judged, reason=why)
            if rating in units:
                row = scored(row, units[rating], measure, prefix_of(bench.study, judge))
            read = held.heard(key, view, bench.study.judges[judge].strip)
            rows.append(replace(row, heard=read))
        rows += [
            _counted(bench, place, held, name, found, measure) for name, found in counts.items()
        ]
    return rows + imported_ratings(bench, survey, held.facts, held.heard)


def by_persona(study: Study, rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """The rows with personas for patients and their cases for chains, since cases of one persona
    are no independent observations; as they are where each persona has one case.
    """
    personas = study.split.personas
    cases: dict[str, list[str]] = {}
    for name, patient in zip(study.tested, study.simulated, strict=False):
        cases.setdefault(personas[name], []).append(patient.name)
    known = {name: (who, place) for who, own in cases.items() for place, name in enumerate(own)}
    if len(cases) == len(known):
        return list(rows)
    width = study.sessions.replicates
    return [
        replace(
            row,
            patient=known[row.patient][0],
            replicate=known[row.patient][1] * width + row.replicate,
        )
        for row in rows
    ]


def _counted(
    bench: Bench,
    place: Scheduled,
    held: Held,
    rater: str,
    counts: Mapping[Key, Mapping[str, Value]],
    measure: str,
) -> ScoreRow:
    """The row of a session by what a rater's rules counted in it."""
    key, view = place.entry.key, bench.study.views[0]
    why = why_not_held(place.entry) or NOTHING_TO_RATE
    row = unrated(bench, place, held.facts(key), rater, "rule", view, 1, reason=why)
    if key not in counts:
        return row
    prefix = prefix_of(bench.study, rater)
    found = {prefix + name: value for name, value in counts[key].items()}
    total = found.get(measure, Value(None, OTHER_SCALE))
    return replace(
        row,
        rated=True,
        reason=total.reason,
        measures={name: value.value for name, value in found.items()},
        unmeasured={name: value.reason for name, value in found.items() if value.reason},
        total=total.value,
    )


def why_not_held(session: Entry) -> str | None:
    """Why there is nothing of a session; None where it was held."""
    if session.reason == ABSENT:
        return ABSENT
    if session.state is State.DONE:
        return None
    return f"rejected:{session.reason}" if session.state is State.REJECTED else session.state.value


def _why(session: Entry, rating: Entry) -> str:
    """Why a scheduled session has no rating."""
    if (why := why_not_held(session)) is not None:
        return why
    if rating.state is State.REJECTED:
        return (
            NOTHING_TO_RATE if rating.reason == NOTHING_TO_RATE else f"judge_failed:{rating.reason}"
        )
    # The session was held: what is lacking is the judge, and no fault of the therapist's.
    return NO_JUDGE if rating.state is State.NOT_REACHED else rating.state.value
