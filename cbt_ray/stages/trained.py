"""Trained: what the store holds of each training and export, for the report.

From its unit, and from its live figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.notice import Notice
from cbt_ray.report.data import (
    CandidateRow,
    CheckRow,
    Curve,
    Curves,
    FileRow,
    PairsRow,
    TrainingRow,
)
from cbt_ray.report.epochs import overfitting
from cbt_ray.stages.judged import DIVERGED
from cbt_ray.stages.searched import Candidate, best_of, candidates_of, searched
from cbt_ray.study import Study
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.search import LEAKS
from cbt_ray.training.live import Record, Step, read_record
from cbt_ray.training.measured import chosen_by, kept_of, lowest, points_of
from cbt_ray.training.preference import FEWEST_PREFERRED, KINDS, PairFigures
from cbt_ray.unit import Key, Unit

if TYPE_CHECKING:
    from cbt_ray.work.bench import Bench

_OF_STEPS = {field.name for field in fields(PairFigures)}
SHOWN = {"loss", "grad_norm", "learning_rate", "measured", "kept", "gate", "preference", *_OF_STEPS}
"""Metrics that have a figure or a table of their own."""
LONG = 12
"""A longer list is a curve and no detail."""


def trainings(bench: Bench, units: Mapping[Key, Unit]) -> Iterator[TrainingRow]:
    """Every model of the study whose unit is there, tuned or compared with; of a search with the
    training that is chosen.
    """
    for made in bench.keys.models:
        model = units.get(bench.keys.model(made))
        best = best_of(candidates_of(bench, made, units)) if made.tuned else None
        key = bench.keys.adapter(best.made if best else made) if made.tuned else None
        adapter = units.get(key) if key else None
        if adapter or model:
            record = read_record(bench.store, key) if key else Record()
            row = row_of(made.title, adapter, model, record)
            yield replace(row, checks=[*row.checks, *_served(bench, made)])


def candidates(bench: Bench, units: Mapping[Key, Unit]) -> Iterator[CandidateRow]:
    """All candidates of each search, one chosen where none is owed."""
    for made in searched(bench):
        found = candidates_of(bench, made, units)
        best = best_of(found) if all(one.unit for one in found) else None
        for one in found:
            own = one.recipe
            yield CandidateRow(
                *(made.title, own.learning_rate, own.lora.r, own.searched.get("epochs")),
                *(one.measured, one.kept),
                lost=_lost(one),
                chosen=one is best,
            )


def _lost(one: Candidate) -> str:
    """Why a candidate has no adapter and will have none."""
    if one.unit is None or one.done:
        return ""
    return DIVERGED if one.unit.reason == DIVERGED else "unfit"


def _served(bench: Bench, made: Checkpoint) -> Iterator[CheckRow]:
    """What was found of the servers that hold a model."""
    for key in bench.keys.verdicts.get(made, ()):
        unit = bench.store.get(key)
        if unit is not None:
            yield from (CheckRow(**check) for check in unit.content["checks"])


def row_of(name: str, adapter: Unit | None, model: Unit | None, record: Record) -> TrainingRow:
    """One training with its export, from their units and its live figures."""
    units = [unit for unit in (adapter, model) if unit is not None]
    metrics = {
        name: value for unit in units for name, value in unit.content.get("metrics", {}).items()
    }
    measured = adapter.provenance.get("measured", {}) if adapter is not None else {}
    speeds = [step.tokens_per_second for step in record.steps if step.tokens_per_second is not None]
    return TrainingRow(
        name,
        steps=metrics.get("steps"),
        measured=points_of(metrics.get("measured")) or record.measured,
        kept=kept_of(metrics.get("kept")),
        tokens=metrics.get("tokens_seen"),
        tokens_per_second=median(speeds) if speeds else measured.get("tokens_per_second"),
        memory_gib=max(
            (step.memory_gib for step in record.steps if step.memory_gib is not None), default=None
        ),
        seconds=measured.get("seconds"),
        curves=_curves(metrics, record),
        preference=list(_preference(metrics.get("preference", {}))),
        checks=[CheckRow(**check) for check in metrics.get("gate", [])],
        files=_files(units),
        details=_flat({name: value for name, value in metrics.items() if name not in SHOWN}),
    )


def leaking(study: Study, rows: Sequence[CandidateRow]) -> Iterator[Notice]:
    """That a search chose by text of which a part was trained on."""
    if study.dataset.format == "paper":
        for model in dict.fromkeys(row.model for row in rows):
            yield Notice("search_leaks", f"{model} was chosen by a search: {LEAKS}.", 60)


def notices_of(training: Sequence[TrainingRow]) -> Iterator[Notice]:
    """That a model learnt its examples by heart, or still prefers the answers that its training
    moved it away from.
    """
    for row in training:
        by = chosen_by(row.measured)
        best = lowest(row.measured, by, start=True)
        if row.kept and best and best.step < row.kept.step:
            for said in overfitting(row.measured):
                yield Notice("overfitted", f"{row.model}: {said}", 59)
        last = [one for one in row.preference if one.when == "after"]
        least = min(last, key=lambda one: one.figures.preferred, default=None)
        if least is not None and least.figures.preferred < FEWEST_PREFERRED:
            yield Notice(
                "prefers_rejected",
                f"{row.model} still prefers the rejected answers: after training the chosen one is "
                f"likelier in {least.figures.preferred:.0%} of {least.pairs} {least.kind} pairs.",
                64,
            )


def _preference(found: Mapping[str, Any]) -> Iterator[PairsRow]:
    for kind, one in found.items():
        for when in ("before", "after"):
            if one[when] is not None:
                yield PairsRow(KINDS[kind], one["pairs"], when, PairFigures(**one[when]))


def _curves(metrics: Mapping[str, Any], record: Record) -> Curves:
    """The unit's own curves where it has them: they are whole where a run was killed before its
    last lines were written.
    """
    return Curves(
        loss=_listed(metrics.get("loss", [])) or _curve(record.steps, "loss"),
        grad_norm=_listed(metrics.get("grad_norm", [])) or _curve(record.steps, "grad_norm"),
        tokens_per_second=_curve(record.steps, "tokens_per_second"),
        memory_gib=_curve(record.steps, "memory_gib"),
        margin=_listed(metrics.get("margin", [])) or _curve(record.steps, "margin"),
        resumed=record.resumed,
    )


def _listed(values: Sequence[float | None]) -> Curve:
    """What a unit lists for steps from the first."""
    return [
        (number, value if value is not None and math.isfinite(value) else None)
        for number, value in enumerate(values, 1)
    ]


def _curve(steps: Sequence[Step], name: str) -> Curve:
    """What live figures hold of one measure; nothing where it was never measured."""
    found = [(step.step, getattr(step, name)) for step in steps]
    return found if any(value is not None for _, value in found) else []


def _files(units: Sequence[Unit]) -> list[FileRow]:
    """All files that the units name, each once."""
    found: dict[str, Any] = {}
    for unit in units:
        content = unit.content
        found |= {f"{unit.key.id}.gguf": content["gguf"]} if "gguf" in content else {}
        found |= {**content.get("adapter", {}), **content.get("files", {})}
    rows = {
        blob["sha256"]: FileRow(name, blob["sha256"], blob["size"])
        for name, blob in reversed(found.items())
    }
    return list(reversed(rows.values()))


def _flat(metrics: Mapping[str, object]) -> dict[str, object]:
    """Metrics as they are read: nested ones by their dotted names, numbers rounded, long lists left
    out.
    """
    flat: dict[str, object] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{part}": shown for part, shown in _flat(value).items()}
        elif not isinstance(value, list) or len(value) <= LONG:
            flat[name] = round(value, 4) if isinstance(value, float) else value
    return flat
