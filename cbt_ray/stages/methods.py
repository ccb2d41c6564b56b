"""Methods: how a study's scores came about, for its report.

Of what was imported only what the import knows: the study file says nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cbt_ray.analysis.notice import Notice
from cbt_ray.count import many
from cbt_ray.imports.rows import judges_of
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.report.data import AskedModel, Methods, Period, RaterRow, ReportedCheckpoint
from cbt_ray.report.prose import listed
from cbt_ray.stages.alike import ALIKE
from cbt_ray.stages.searched import best_of, candidates_of
from cbt_ray.stages.simulate import known
from cbt_ray.study.model import Arm, seed_suffix
from cbt_ray.study.patients import SimulatedPatient
from cbt_ray.study.rater import Judge, Rulebook
from cbt_ray.study.scheduled import seeds_of
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.outcome import scales_of
from cbt_ray.work.rating_id import parse_rating_id

Units = Mapping[Key, Unit]
_DIGEST = re.compile(r"\b[0-9a-f]{64}-")
READS = {
    "summary": "the session, without the summary of the session before",
    "paper": "the session, without the summary of the session before, the patient's first turn "
    "and the therapist's last",
}
"""What a rater of the study reads, by what is taken out."""


def methods_of(bench: Bench, units: Units) -> Methods:
    """How the scores came about."""
    study = bench.study
    done = {key: unit for key, unit in units.items() if unit.status is Status.DONE}
    names = dict.fromkeys(name for rater in study.raters for name in scales_of(study, rater))
    speakers = list(_speakers(bench, done))
    sessions = [unit for key, unit in done.items() if key.stage is Stage.SESSIONS]
    held = _span(sessions)
    return Methods(
        scales=load_scales(bench.prompts, names),
        raters=list(_raters(bench, done)),
        patients=list(_patients(bench, done)),
        written=_written(bench, done),
        sessions=study.sessions if held else None,
        speakers=speakers,
        trained=list(_trained(bench, done)),
        imported=study.imported.sources if study.imported else (),
        held=held,
        rated=_span(unit for key, unit in done.items() if key.stage is Stage.RATINGS),
        code=sorted({unit.provenance["cbt_ray"] for unit in done.values() if _made(unit)}),
        llama_cpp=sorted(filter(None, {u.provenance.get("llama_cpp", "") for u in done.values()})),
    )


def notices_of(raters: Sequence[RaterRow]) -> Iterator[Notice]:
    """That the headline's rater read more than the session."""
    for rater in raters[:1]:
        if rater.opened_read:
            yield Notice(
                "opening_read",
                f"{rater.opened_read} of {many(rater.opened, 'rated session')} still held the "
                f"summary of the session before when {rater.who or rater.name} read them: their "
                "scores are of both.",
                66,
            )


def _made(unit: Unit) -> bool:
    """Whether it was made here: of what was imported nobody knows when, and with what."""
    return "made_at" in unit.provenance


def _span(units: Iterable[Unit]) -> Period | None:
    times = sorted(unit.provenance["made_at"] for unit in units if _made(unit))
    return Period(times[0], times[-1]) if times else None


# ---- who rated -----------------------------------------------------------------------------------


def _raters(bench: Bench, done: Units) -> Iterator[RaterRow]:
    """Everybody who rated a session, the headline's rater first."""
    ratings, rulebooks = _by_rater(bench, done), bench.study.rulebooks
    known = [*ratings, *rulebooks]
    for name in sorted(known, key=lambda name: name != bench.study.headline_judge):
        if name in rulebooks:
            yield _counting(name, rulebooks[name], done)
            continue
        imported = judges_of(bench).get(name)
        own = bench.study.judges.get(name)
        opened = list(_opened(ratings[name], done))
        yield RaterRow(
            name,
            kind=imported.kind if imported else "model",
            who=imported.who if imported else _reported(name, ratings[name]),
            ratings=len(ratings[name]),
            reads=_reads(own) if own else "",
            opened=len(opened),
            opened_read=0 if own else _still_read(opened),
        )


def _counting(name: str, book: Rulebook, done: Units) -> RaterRow:
    """Rules count in every session that was held."""
    counted = "; ".join(f"{rule.title or own}: {rule.told}" for own, rule in book.rules.items())
    held = sum(key.stage is Stage.SESSIONS for key in done)
    return RaterRow(name, "rule", "", held, f"all turns, in which are counted: {counted}")


def _by_rater(bench: Bench, done: Units) -> dict[str, list[Unit]]:
    keys = [
        *(key for session in bench.keys.sessions() for key in bench.keys.ratings_of(session)),
        *bench.keys.imported_ratings(),
    ]
    found: dict[str, list[Unit]] = {}
    for key in keys:
        if key in done:
            found.setdefault(parse_rating_id(key.id)[1], []).append(done[key])
    return found


def _opened(ratings: Iterable[Unit], done: Units) -> Iterator[Unit]:
    """A rating of each rated session that began with the summary of the session before."""
    rated = {session: unit for unit in ratings for session in unit.made_from}
    sessions = {str(key): unit for key, unit in done.items() if key.stage is Stage.SESSIONS}
    for session, rating in rated.items():
        if session in sessions and sessions[session].content["opening"]:
            yield rating


def _still_read(opened: Sequence[Unit]) -> int | None:
    """In how many the summary was read; None where an import does not know."""
    known = [unit.content.get("opening_read") for unit in opened]
    return None if None in known else known.count(True)


def _reads(rater: Judge) -> str:
    views = "" if rater.views == ("plain",) else f" ({' and '.join(rater.views)} view)"
    return READS[rater.strip] + views


def _reported(name: str, units: Iterable[Unit]) -> str:
    """The model ids that an endpoint reported under a name, without the digest that a file of the
    store has in front.
    """
    found = (unit.provenance.get("models", {}).get(name) for unit in units)
    return ", ".join(dict.fromkeys(_DIGEST.sub("", one) for one in found if one))


# ---- who was talked with -------------------------------------------------------------------------


def _patients(bench: Bench, done: Units) -> Iterator[SimulatedPatient]:
    """The simulated patients; of a tested one the generator wrote the profile."""
    for place, patient in enumerate(bench.study.simulated, 1):
        number = bench.keys.written_as(place)
        unit = done.get(bench.keys.profile(number)) if number else None
        yield patient if unit is None else known(patient, unit)


def _written(bench: Bench, done: Units) -> Mapping[str, str]:
    """How the tested patients were divided from those that are trained on; empty where the study
    file has others to simulate.
    """
    study, training = bench.study, bench.study.patients.training
    if not study.tested or training is None:
        return {}
    profiles = [unit for key, unit in done.items() if key.stage is Stage.PROFILES]
    again = sum(ALIKE in unit.content["sent_back"] for unit in profiles if _made(unit))
    personas = many(len(set(study.split.personas.values())), "persona")
    return {
        "Patients": f"{training.count:,} of {personas}, none of them on two sides",
        "Not trained on, but tested": f"{len(study.tested):,}",
        **({"Dealt out evenly": listed(training.balanced)} if training.balanced else {}),
        **(
            {"Written anew, since too like an earlier one": f"{again:,}"}
            if training.most_alike
            else {}
        ),
    }


# ---- who spoke -----------------------------------------------------------------------------------


def _speakers(bench: Bench, done: Units) -> Iterator[AskedModel]:
    """Every model that was asked: roles, therapists by arm, raters."""
    study, made = bench.study, [unit for unit in done.values() if _made(unit)]
    for name, role in study.roles.named.items():
        if model := _reported(name, made):
            yield AskedModel(name, model, role)
    for arm in study.arms:
        names = [_therapist(arm, seed) for seed in seeds_of(study, arm)]
        if model := ", ".join(dict.fromkeys(filter(None, (_reported(n, made) for n in names)))):
            yield AskedModel(arm.name, model, study.therapist(arm))
    for name, rater in study.judges.items():
        if model := _reported(name, made):
            yield AskedModel(name, model, rater)


def _therapist(arm: Arm, seed: int) -> str:
    return f"therapist.{arm.name}{seed_suffix(seed)}"


def _trained(bench: Bench, done: Units) -> Iterator[ReportedCheckpoint]:
    """The checkpoints that were made, tuned or exported to be compared with."""
    for made in bench.keys.models:
        unit = done.get(bench.keys.model(made))
        if unit is not None:
            sha256 = unit.content.get("gguf", {}).get("sha256", "")
            found = candidates_of(bench, made, done) if made.tuned else []
            best = best_of(found)
            recipe = best.recipe if best else bench.study.recipe_of(made)
            yield ReportedCheckpoint(made.title, made.tuned, recipe, sha256, max(1, len(found)))
