"""Analyse: the scores table of all scheduled sessions, and the statistics on it. One unit, made in this process."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cbt_ray.errors import BelowMinimum
from cbt_ray.rating.scale import Scale, load_scale
from cbt_ray.study import Study
from cbt_ray.study.model import Arm
from cbt_ray.therapy.flags import flags_of
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.therapy.stop import StopReason
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench, must_be_done
from cbt_ray.work.survey import Entry, State, Survey


def analyse_scores(bench: Bench) -> None:
    """Make the analysis, unless it is there. Raises Owed where ratings are owed, BelowMinimum where an arm has too few."""
    survey = bench.survey(Stage.SESSIONS, Stage.RATINGS)
    must_be_done(survey, Stage.RATINGS, "analysis")
    key = bench.keys.analysis()

    def make() -> None:
        from cbt_ray.analysis import analyse

        rows = score_rows(bench, survey)
        scale = load_scale(bench.prompts, bench.study.judge.scale)
        result = analyse(rows, settings_of(bench.study, scale))
        bench.store.put(Unit(key, {"rows": [row.to_json() for row in rows], "analysis": result}))

    bench.once(Stage.ANALYSIS, key, make)


def require_ratings(bench: Bench) -> None:
    """Raise BelowMinimum where an arm has fewer sessions with a total than the study file's `minimum.ratings`."""
    unit = bench.store.get(bench.keys.analysis())
    view = bench.study.judge.views[0]
    rows = [row for row in unit.content["rows"] if row["view"] == view and row["total"] is not None] if unit else []
    rated = Counter(arm for arm, _ in {(row["arm"], row["session_key"]) for row in rows})
    minimum = bench.study.minimum.ratings
    short = [f"{arm.name} has {rated[arm.name]}" for arm in bench.study.arms if rated[arm.name] < minimum]
    if short:
        raise BelowMinimum(f"{bench.study.file}: minimum.ratings: expected at least {minimum} in each arm, {', '.join(short)}")


def settings_of(study: Study, scale: Scale) -> Any:
    """The analysis block as the analysis takes it."""
    from cbt_ray.analysis import Settings

    return Settings(
        level=study.analysis.level,
        unrated=study.analysis.unrated,
        view=study.judge.views[0],
        items=tuple(item.id for item in scale.items),
        titles={item.id: item.title for item in scale.items},
        lowest=1,
        highest=len(scale.words),
        arms=tuple(arm.name for arm in study.arms),
    )


def score_rows(bench: Bench, survey: Survey) -> list[Any]:
    """One row for each scheduled session, view and judge replicate, rated or not, with its reason."""
    states = {entry.key: entry for stage in (Stage.SESSIONS, Stage.RATINGS) for entry in survey.stages[stage]}
    rows = []
    for arm, patient, replicate in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate), 1):
            unit = bench.store.get(key) if states[key].state is State.DONE else None
            facts = _facts(bench.study, unit)
            for view in bench.study.judge.views:
                for judged in range(1, bench.study.judge.replicates + 1):
                    place = {"arm": arm, "patient": patient, "replicate": replicate, "number": number, "key": key}
                    rating = bench.keys.rating(key, view, judged)
                    rows.append(_row(bench, place, states[key], states[rating], facts, view, judged))
    return rows


def _facts(study: Study, unit: Unit | None) -> dict[str, Any]:
    """What is known of a session that was held."""
    if unit is None:
        return {}
    session, stop = Session.from_json(unit.content), StopReason(unit.content["stop"])
    return {
        "words": session.words,
        "therapist_turns": len(session.turns_of(Speaker.THERAPIST)),
        "messages": len(session.turns),
        "flags": flags_of(session, stop, study.flags),
        "stop_reason": stop.value,
    }


def _row(
    bench: Bench, place: dict[str, Any], session: Entry, rating: Entry, facts: dict[str, Any], view: str, judged: int
) -> Any:
    from cbt_ray.analysis import ScoreRow

    arm: Arm = place["arm"]
    key: Key = place["key"]
    unit = bench.store.get(rating.key) if rating.state is State.DONE else None
    scores = {name: item["score"] for name, item in unit.content["items"].items()} if unit else {}
    return ScoreRow(
        session_key=str(key),
        arm=arm.name,
        model=arm.model,
        variant=arm.variant,
        patient=bench.study.patients.simulated[place["patient"] - 1].name,
        replicate=place["replicate"],
        session=place["number"],
        phase=bench.study.phase_of(place["number"]).name,
        view=view,
        judge_replicate=judged,
        rated=unit is not None,
        reason=None if unit else _why(session, rating),
        items=scores,
        total=unit.content["total"] if unit else None,
        **facts,
    )


def _why(session: Entry, rating: Entry) -> str:
    """Why a scheduled session has no rating."""
    if session.state is not State.DONE:
        return f"rejected:{session.reason}" if session.state is State.REJECTED else session.state.value
    if rating.state is State.REJECTED:
        return "nothing_to_rate" if rating.reason == "nothing_to_rate" else f"judge_failed:{rating.reason}"
    return rating.state.value
