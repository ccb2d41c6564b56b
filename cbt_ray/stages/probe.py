"""Probe the judge: a rated session is spoilt on purpose and judged once more, or its kind of
therapist is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cbt_ray.rating.guess import guess, load_kinds
from cbt_ray.rating.homework import load_homework
from cbt_ray.rating.judge import rate
from cbt_ray.rating.probe import (
    GUESSES,
    NO_HOMEWORK,
    NOTHING_TO_RATE,
    SWAPPED,
    VIEW,
    Spoilt,
    look_of,
    shuffled,
    silenced,
    swapped,
    without_homework,
)
from cbt_ray.rating.scale import joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.rating.view import judged_turns, view_text
from cbt_ray.study.rater import Judge
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Session, Speaker, Turn
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import Target, headline
from cbt_ray.work.probed import kinds_of, probe_names, probed_places
from cbt_ray.work.survey import Entry, State, Survey
from cbt_ray.work.workplace import Workplace

if TYPE_CHECKING:
    from cbt_ray.analysis.judge.probe import ProbeRow


def probe_content(
    place: Workplace, key: Key, session: Key, name: str, held: Mapping[Key, Unit]
) -> dict[str, Any]:
    """What a probe's unit holds: a rating or a guess, or the reason why this session cannot be
    probed so.

    `held`: what it is made from, this session and that of another patient where its therapist is
    wanted.
    """
    study, seed = place.study, key.seed(place.study.seed)
    said = {
        one: judged_turns(Session.from_json(unit.content), study.judge.strip)
        for one, unit in held.items()
        if one.stage is Stage.SESSIONS
    }
    turns = said.pop(session)
    spoilt = (
        _spoilt(place, name, turns, next(iter(said.values()), None), seed)
        if _rated(turns)
        else Spoilt((), NOTHING_TO_RATE)
    )
    made = {"view": VIEW + name, "reason": spoilt.reason, "removed": spoilt.removed}
    if spoilt.reason is not None:
        return made
    names = {arm.name for arm in study.arms} | set(study.models)
    look, language = look_of(name, study.judge.views[0]), load_language(place.prompts)
    text = view_text(spoilt.turns, look, names, language)
    filled = place.filled(study.probed or "")
    scales = load_scales(place.prompts, study.judge.scales)
    if name in GUESSES:
        kinds, field = load_kinds(place.prompts, kinds_of(study)), joined(scales).expertise
        guessed = guess(text, kinds, field, study.judge, place.prompts, filled.ask, seed)
        return made | guessed.to_json()
    rating = rate(text, scales, _judge(study.judge, name), place.prompts, filled.ask, seed)
    return made | rating.to_json()


def probe_rows(bench: Bench, survey: Survey) -> list[ProbeRow]:
    """One row for each probe of each probed session, answered or not, with its reason.

    Reads units; asks nothing.
    """
    from cbt_ray.analysis.judge.probe import ProbeRow

    study, keys = bench.study, bench.keys
    states = {entry.key: entry for entry in survey.stages[Stage.RATINGS]}
    done = [key for probe in keys.probes() if states[key := keys.probe(*probe)].state is State.DONE]
    contents = {key: unit.content for key, unit in bench.store.get_many(done) if unit}
    head = headline(study, bench.prompts)
    rows = []
    for arm in study.arms:
        for patient, replicate, number in probed_places(study):
            session = keys.session(arm, patient, replicate, number)
            facts: dict[str, Any] = {
                "session_key": str(session),
                "arm": arm.name,
                "kind": arm.kind,
            }
            facts |= {
                "patient": study.simulated[patient - 1].name,
                "replicate": replicate,
                "session": number,
            }
            for name in probe_names(study):
                entry = states[keys.probe(session, name)]
                answer = _answer(entry, contents.get(entry.key), head)
                rows.append(ProbeRow(**facts, probe=name, **answer))
    return rows


def _answer(entry: Entry, content: dict[str, Any] | None, head: Target) -> dict[str, Any]:
    """What the judge answered, with the headline's measure, or why there is no answer."""
    if content is None:
        return {
            "reason": f"judge_failed:{entry.reason}"
            if entry.state is State.REJECTED
            else entry.state.value
        }
    rated = content.get("items", {})
    items = {head.prefix + item: one["score"] for item, one in rated.items()}
    return {
        "reason": content["reason"],
        "items": items,
        "total": content.get("measures", {}).get(head.measure, {}).get("value"),
        "guess": content.get("guess"),
    }


def _judge(judge: Judge, name: str) -> Judge:
    """The judge as a probe asks it: `halo` asks item by item where the study asks for all at once,
    and the other way round.
    """
    if name != "halo":
        return judge
    return judge.model_copy(
        update={"items": "separately" if judge.items == "together" else "together"}
    )


def _rated(turns: list[Turn]) -> bool:
    return any(turn.speaker is Speaker.THERAPIST for turn in turns)


def _spoilt(
    place: Workplace, name: str, turns: list[Turn], other: list[Turn] | None, seed: int
) -> Spoilt:
    if name == "empty":
        return silenced(turns, load_language(place.prompts).transcript.silence)
    if name == "shuffled":
        return shuffled(turns, seed)
    if name == SWAPPED:
        return swapped(turns, other)
    if name == NO_HOMEWORK:
        return without_homework(turns, load_homework(place.prompts))
    return Spoilt(tuple(turns))
