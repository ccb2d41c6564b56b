"""The rows that imported judges add to the table of scores, and their ratings session by
session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.rating.measure import ITEM_MISSING
from cbt_ray.rating.view import Strip
from cbt_ray.study.imported import ABSENT, ImportedJudge
from cbt_ray.study.model import Arm
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import headline, prefix_of
from cbt_ray.work.rating_id import parse_rating_id
from cbt_ray.work.survey import Entry, State, Survey

if TYPE_CHECKING:
    from cbt_ray.analysis import ScoreRow

OTHER_VERSION = "other_version"
"""Why a rating does not count that was given for another version of its session: the study file
changed after it, or the
session was held anew with other words."""
NOT_RATED = "not_rated"
"""Why a session is unrated that was held, and that a judge of all sessions did not rate."""
NOTHING_TO_RATE = "nothing_to_rate"
OTHER_SCALE = "other_scale"
"""Why a rating has no total that was given on other scales than the headline's."""
Facts = Callable[[Key], Mapping[str, Any]]
"""A session's key -> words, therapist_turns, messages, flags and stop_reason; {} where it was not
held."""
Heard = Callable[[Key, str, Strip], int | None]
"""A session's key, a view, what was taken out -> therapist turns with a word in what was read."""


@dataclass(frozen=True)
class ImportedRating:
    """One imported judgement."""

    judge: str
    kind: str
    session: str
    """The session's readable id."""
    view: str
    judge_replicate: int
    unit: Unit


def rates(rating: Unit, session: Entry) -> bool:
    """Whether an imported rating is one of this session, in the words that are there now."""
    return rating.made_from == {str(session.key): session.digest}


@dataclass(frozen=True)
class _Scheduled:
    """A scheduled session."""

    arm: Arm
    patient: int
    replicate: int
    number: int
    entry: Entry
    seed: int


def judges_of(bench: Bench) -> Mapping[str, ImportedJudge]:
    """Everybody whose ratings were imported, by name."""
    return bench.study.imported.judges if bench.study.imported else {}


def ratings_by_session(bench: Bench) -> dict[str, list[ImportedRating]]:
    """Session's readable id -> all imported ratings that are in the store, by judge, view and
    replicate.
    """
    found: dict[str, list[ImportedRating]] = {}
    kinds = {name: judge.kind for name, judge in judges_of(bench).items()}
    for key, unit in bench.store.get_many(bench.keys.imported_ratings()):
        if unit is not None:
            session, judge, view, replicate = parse_rating_id(key.id)
            found.setdefault(session, []).append(
                ImportedRating(judge, kinds[judge], session, view, replicate, unit)
            )
    for ratings in found.values():
        ratings.sort(key=lambda rating: (rating.judge, rating.view, rating.judge_replicate))
    return found


def scored(unit: Unit | None, measure: str, prefix: str) -> dict[str, Any]:
    """The scores of a row by the unit of its rating.

    `measure`: the headline's, which is the total; `prefix`: what comes before all names.
    """
    content = unit.content if unit else {}
    items, measures = content.get("items", {}), content.get("measures", {})
    found = {prefix + name: one["value"] for name, one in measures.items()}
    return {
        "rated": unit is not None,
        "items": {prefix + name: item["score"] for name, item in items.items()},
        "measures": found,
        "unmeasured": {
            prefix + name: one["reason"] for name, one in measures.items() if one["value"] is None
        },
        "total": found.get(measure),
    }


def why_without(unit: Unit, measure: str, prefix: str) -> str | None:
    """Why a rating has no total, beside a missing item; None where it has one."""
    found = unit.content.get("measures", {}).get(measure.removeprefix(prefix))
    if found is None:
        return OTHER_SCALE
    return None if found["reason"] == ITEM_MISSING else found["reason"]


def imported_ratings(bench: Bench, survey: Survey, facts: Facts, heard: Heard) -> list[ScoreRow]:
    """One row for each imported rating.

    Of a judge of all sessions also one, with the reason, for each session it did not rate.

    `survey` must hold the sessions. `facts` are those of the own judge's rows. A judge of all
    sessions is one whose manifest says so, a rater of the study, and one that an outcome names.
    `heard`: what a rater read of the therapist.
    """
    ratings, measure = ratings_by_session(bench), headline(bench.study, bench.prompts).name
    return [
        row
        for place in _scheduled(bench, survey)
        for row in _rows(bench, place, ratings.get(place.entry.key.id, []), facts, heard, measure)
    ]


def _scheduled(bench: Bench, survey: Survey) -> Iterator[_Scheduled]:
    entries = {entry.key: entry for entry in survey.stages[Stage.SESSIONS]}
    for arm, patient, replicate, seed in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate, seed), 1):
            yield _Scheduled(arm, patient, replicate, number, entries[key], seed)


def _rows(
    bench: Bench,
    place: _Scheduled,
    ratings: list[ImportedRating],
    facts: Facts,
    heard: Heard,
    measure: str,
) -> Iterator[ScoreRow]:
    own = facts(place.entry.key)
    for rating in ratings:
        whose = (rating.judge, rating.kind, rating.view, rating.judge_replicate)
        if not rates(rating.unit, place.entry):
            yield _row(bench, place, own, *whose, reason=OTHER_VERSION)
            continue
        said = rating.unit, measure, prefix_of(bench.study, rating.judge)
        row = _row(bench, place, own, *whose, scored(*said), why_without(*said))
        strip = rating.unit.content.get("strip", "summary")
        yield replace(row, heard=heard(place.entry.key, rating.view, strip))
    view = bench.study.views[0]
    outcomes = map(bench.study.rater_of, bench.study.analysis.outcomes)
    wanted = {*bench.study.people, bench.study.headline_judge, *outcomes}
    for name, judge in judges_of(bench).items():
        expected = judge.complete or name in wanted
        if expected and not any(rating.judge == name and rating.view == view for rating in ratings):
            yield _row(
                bench, place, own, name, judge.kind, view, 1, reason=why_unrated(place.entry, own)
            )


def why_unrated(session: Entry, facts: Mapping[str, Any]) -> str:
    """Why a judge of all sessions has no rating of this one."""
    if session.state is State.REJECTED:
        return ABSENT if session.reason == ABSENT else f"rejected:{session.reason}"
    if session.state is not State.DONE:
        return session.state.value
    return NOT_RATED if facts.get("therapist_turns") else NOTHING_TO_RATE


def _row(
    bench: Bench,
    place: _Scheduled,
    facts: Mapping[str, Any],
    judge: str,
    kind: str,
    view: str,
    replicate: int,
    scores: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> ScoreRow:
    from cbt_ray.analysis import ScoreRow

    levels = bench.keys.factors[place.arm.name]
    return ScoreRow(
        session_key=str(place.entry.key),
        arm=place.arm.name,
        factors=dict(levels),
        seed=place.seed,
        patient=bench.study.patients.simulated[place.patient - 1].name,
        replicate=place.replicate,
        session=place.number,
        phase=bench.study.phase_of(place.number).name,
        view=view,
        judge_replicate=replicate,
        reason=reason,
        judge=judge,
        kind=kind,
        **(scored(None, "", "") if scores is None else scores),
        **facts,
    )
