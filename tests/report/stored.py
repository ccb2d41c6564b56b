"""A folder store that holds a made-up study of 600 sessions, as if it had been run: sessions and
their ratings.
"""

from pathlib import Path
from typing import Any

from cbt_ray.analysis.document import to_json
from cbt_ray.stages.analyse import versions
from cbt_ray.store import open_store
from cbt_ray.study import Study, load_study
from cbt_ray.unit import Key, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.keys import Keys
from cbt_ray.work.progress import Silent
from cbt_ray.work.workshop import prompts_of
from tests.report import study as made_up
from tests.stages import scripted

TURNS = 26
WHY = (
    "The therapist stays with the patient's own words and asks for evidence, but moves on before "
    "the answer has come. " * 2
)


def stored(folder: Path) -> tuple[Bench, Unit]:
    """The bench of the study, and its analysis unit, which is in the store, too."""
    study = load_study(scripted.write_study(folder, document(folder / "store")))
    keys, store = Keys(study, prompts_of(study)), open_store(study.store)
    dates = {"declared_at": None, "first_rating_at": None}
    content = {"rows": _rows(keys), "probes": [], "analysis": to_json(made_up.analysis())}
    sessions = _sessions(study, keys)
    held = {unit.key: unit.digest for unit in sessions}
    ratings = _ratings(keys, held)
    made_from = {str(unit.key): unit.digest for unit in (*sessions, *ratings)}
    by = {"versions": versions(), "declared": dates}
    analysis = Unit(keys.analysis(), content, provenance=by, made_from=made_from)
    for unit in (*sessions, *ratings, analysis):
        path = (
            folder / "store" / str(unit.key)
        )  # past the store, which would wait for the disk twelve hundred times
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(unit.to_bytes())
    assert store.get(analysis.key) == analysis
    return Bench(study, Silent()), analysis


def document(store: Path) -> dict[str, Any]:
    """Three models, two variants, five patients, twenty sessions."""
    arms = [
        {"name": f"{m}-{v}", "model": m, "tuned": v == "tuned"}
        for m in made_up.MODELS
        for v in made_up.VARIANTS
    ]
    base = scripted.study_document(store)
    return base | {
        "patients": base["patients"]
        | {
            "simulated": [
                {
                    "name": name,
                    "profile": "A patient who sleeps badly and has given up what was dear.",
                }
                for name in made_up.PATIENTS
            ]
        },
        "models": {
            model: {"recipe": scripted.RECIPE | {"seed": n}}
            for n, model in enumerate(made_up.MODELS)
        },
        "arms": arms,
        "phases": [
            {"name": "all", "sessions": [1, 20], "goals": "Feel better.", "techniques": "Talk."}
        ],
        "sessions": {"count": 20},
    }


def _sessions(study: Study, keys: Keys) -> list[Unit]:
    units: dict[Key, Unit] = {}
    for place in keys.chains():
        for number, key in enumerate(keys.chain(*place), 1):
            made_from = {str(one): units[one].digest for one in keys.inputs(key) if one in units}
            units[key] = _session(study, key, place, number, made_from)
    return [*units.values()]


def _session(study: Study, key: Key, place: Any, number: int, made_from: dict[str, str]) -> Unit:
    turns = [
        {
            "speaker": ("patient", "therapist")[n % 2],
            "text": " ".join(made_up.said(n + 2 * k, number) for k in range(8)),
        }
        for n in range(TURNS)
    ]
    patient = study.patients.simulated[place[1] - 1].name
    content = {
        "patient": patient,
        "number": number,
        "phase": "all",
        "opening": "",
        "turns": turns,
        "summary": WHY,
        "stop": "end_token",
    }
    by = {
        "determinants": {"prompts": {"therapist.j2": "0f" * 8}},
        "models": {"therapist": "scripted"},
    }
    return Unit(key, content, provenance=by, made_from=made_from)


def _ratings(keys: Keys, held: dict[Key, str]) -> list[Unit]:
    items = {
        item: {"word": "Adequate", "score": 6, "justification": WHY, "reason": None}
        for item in made_up.ITEMS
    }
    content = {"items": items, "measures": {"total": {"value": 66}}, "view": "plain"}
    by = {"determinants": {"prompts": {"judge.j2": "0f" * 8}}}
    rated = ((key, session) for session in keys.sessions() for key in keys.ratings_of(session))
    return [
        Unit(key, content, provenance=by, made_from={str(one): held[one]}) for key, one in rated
    ]


def _rows(keys: Keys) -> list[dict[str, Any]]:
    """Rows of scores under the keys of this store."""
    names = {
        f"{arm.name}.{n}.{s:02d}": str(key)
        for arm, n, r, seed in keys.chains()
        for s, key in enumerate(keys.chain(arm, n, r, seed), 1)
    }
    patients = {name: n for n, name in enumerate(made_up.PATIENTS, 1)}
    found = []
    for row in made_up.rows():
        if row.judge == "judge" and row.judge_replicate == 1:
            key = names[f"{row.arm}.{patients[row.patient]}.{row.session:02d}"]
            found.append(row.to_json() | {"session_key": key})
    return found
