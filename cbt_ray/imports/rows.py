"""The rows that imported judges add to the table of scores, and their ratings session by
session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cbt_ray.rating.judge import Rating
from cbt_ray.rating.measure import ITEM_MISSING, Value
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


@dataclass(frozen=True)
class Facts:
    """What is known of a held session beside its ratings."""

    words: int
    therapist_turns: int
    messages: int
    flags: Sequence[str] = ()
    stop_reason: str | None = None


FactsOf = Callable[[Key], Facts | None]
"""Of a session by its key; None where it was not held."""
TurnsRead = Callable[[Key, str, Strip], int | None]
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
class Scheduled:
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


def scored(row: ScoreRow, unit: Unit, measure: str, prefix: str) -> ScoreRow:
    """The row with the scores of its rating.

    `measure`: the headline's, which is the total; `prefix`: what comes before all names.
    """
    rating = Rating.from_json(unit.content).under(prefix)
    total = rating.measures.get(measure, Value(None, OTHER_SCALE))
    return replace(
        row,
        rated=True,
        reason=None if total.reason == ITEM_MISSING else total.reason,
        items={name: item.score for name, item in rating.items.items()},
        measures={name: value.value for name, value in rating.measures.items()},
        unmeasured={name: value.reason for name, value in rating.measures.items() if value.reason},
        total=total.value,
    )


def imported_ratings(
    bench: Bench, survey: Survey, facts: FactsOf, heard: TurnsRead
) -> list[ScoreRow]:
    """One row for each imported rating.

    Of a judge of all sessions also one, with the reason, for each session it did not rate.

    `survey` must hold the sessions. `facts` are those of the own judge's rows. A judge of all
    sessions is one whose manifest says so, a rater of the study, and one that an outcome names.
    `heard`: what a rater read of the therapist.
    """
    ratings, measure = ratings_by_session(bench), headline(bench.study, bench.prompts).name
    return [
        row
        for place in scheduled(bench, survey)
        for row in _rows(bench, place, ratings.get(place.entry.key.id, []), facts, heard, measure)
    ]


def scheduled(bench: Bench, survey: Survey) -> Iterator[Scheduled]:
    """Every scheduled session, chain after chain."""
    entries = {entry.key: entry for entry in survey.stages[Stage.SESSIONS]}
    for arm, patient, replicate, seed in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate, seed), 1):
            yield Scheduled(arm, patient, replicate, number, entries[key], seed)


def _rows(
    bench: Bench,
    place: Scheduled,
    ratings: list[ImportedRating],
    facts: FactsOf,
    heard: TurnsRead,
    measure: str,
) -> Iterator[ScoreRow]:
    own = facts(place.entry.key)
    for rating in ratings:
        whose = (rating.judge, rating.kind, rating.view, rating.judge_replicate)
        row = unrated(bench, place, own, *whose, reason=OTHER_VERSION)
        if rates(rating.unit, place.entry):
            row = scored(row, rating.unit, measure, prefix_of(bench.study, rating.judge))
            strip = rating.unit.content.get("strip", "summary")
            row = replace(row, heard=heard(place.entry.key, rating.view, strip))
        yield row
    view = bench.study.views[0]
    outcomes = map(bench.study.rater_of, bench.study.analysis.outcomes)
    wanted = {*bench.study.people, bench.study.headline_judge, *outcomes}
    for name, judge in judges_of(bench).items():
        expected = judge.complete or name in wanted
        if expected and not any(rating.judge == name and rating.view == view for rating in ratings):
            reason = why_unrated(place.entry, own)
            yield unrated(bench, place, own, name, judge.kind, view, 1, reason=reason)


def why_unrated(session: Entry, facts: Facts | None) -> str:
    """Why a judge of all sessions has no rating of this one."""
    if session.state is State.REJECTED:
        return ABSENT if session.reason == ABSENT else f"rejected:{session.reason}"
    if session.state is not State.DONE:
        return session.state.value
    return NOT_RATED if facts and facts.therapist_turns else NOTHING_TO_RATE


def unrated(
    bench: Bench,
    place: Scheduled,
    facts: Facts | None,
    judge: str,
    kind: str,
    view: str,
    replicate: int,
    *,
    reason: str,
) -> ScoreRow:
    """The row of a session without a rating."""
    from cbt_ray.analysis import ScoreRow

    row = ScoreRow(
        session_key=str(place.entry.key),
        arm=place.arm.name,
        factors=dict(bench.keys.factors[place.arm.name]),
        seed=place.seed,
        patient=bench.study.simulated[place.patient - 1].name,
        replicate=place.replicate,
        session=place.number,
        phase=bench.study.phase_of(place.number).name,
        view=view,
        judge_replicate=replicate,
        rated=False,
        reason=reason,
        judge=judge,
        kind=kind,
    )
    if facts is None:
        return row
    return replace(
        row,
        words=facts.words,
        therapist_turns=facts.therapist_turns,
        messages=facts.messages,
        flags=list(facts.flags),
        stop_reason=facts.stop_reason,
    )
