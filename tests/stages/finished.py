"""A finished study of any size in a folder store: sessions, ratings and what they cost, as if it
had been run; analysis and report are left to the stages.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cbt_ray.llm.request import Usage
from cbt_ray.rating.scale import Scale, joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.study import Study, load_study
from cbt_ray.unit import Key, Unit
from cbt_ray.work.determinants import said
from cbt_ray.work.keys import Keys
from cbt_ray.work.workshop import prompts_of
from tests.report import study as made_up
from tests.report.stored import TURNS, WHY, document
from tests.stages import scripted

ARMS = tuple(f"arm-{letter}" for letter in "abcdef")
USAGE = Usage(24, 30_000, 3000, 0.01, 40.0)


def write_finished(folder: Path, replicates: int = 1, sessions: int = 20) -> Path:
    """6 arms x 5 patients x replicates x sessions, each with a rating; answers the study file."""
    base = document(folder / "store")
    changes: dict[str, Any] = {
        "arms": [{"name": name} for name in ARMS],
        "models": {},
        "sessions": {"count": sessions, "replicates": replicates},
        "analysis": {"contrasts": []},
        "imported": None,
    }
    file = scripted.write_study(folder, base | changes)
    study = load_study(file)
    keys = Keys(study, prompts_of(study))
    store = Path(study.store)
    for number, unit in enumerate(_units(study, keys)):
        by = unit.provenance | {"determinants": said(keys.determinants(unit.key))}
        object.__setattr__(unit, "provenance", by)
        _write(store / str(unit.key), unit.to_bytes())
        record = {"key": str(unit.key), "outcome": "done", "usage": USAGE.to_json()}
        path = store / study.study / "usage" / unit.key.stage / f"{number:032x}"
        _write(path, json.dumps(record).encode())
    return file


def _write(file: Path, data: bytes) -> None:
    """Past the store, which would wait for the disk thousands of times."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _units(study: Study, keys: Keys) -> Iterator[Unit]:
    scale = joined(load_scales(keys.prompts, study.judge.scales))
    for chain in keys.chains():
        before: dict[str, str] = {}
        for number, key in enumerate(keys.chain(*chain), 1):
            unit = Unit(key, _session(study, chain[1], number), provenance=_by(), made_from=before)
            yield unit
            before = {str(key): unit.digest}
            for rating in keys.ratings_of(key):
                yield Unit(rating, _rating(rating, scale), provenance=_by(), made_from=before)


def _by() -> dict[str, Any]:
    models = {"models": {"patient": "scripted"}, "usage": USAGE.to_json(), "seconds": 40.0}
    return {"cbt_ray": "1", "made_at": "2026-01-01T00:00:00+00:00", **models}


def _session(study: Study, patient: int, number: int) -> dict[str, Any]:
    """About as many words as a session of the published study has."""
    turns = [
        {
            "speaker": ("patient", "therapist")[n % 2],
            "text": " ".join(made_up.said(n + 2 * k, number + patient) for k in range(8)),
        }
        for n in range(TURNS)
    ]
    return {
        "patient": study.patients.simulated[patient - 1].name,
        "number": number,
        "phase": study.phase_of(number).name,
        "opening": WHY if number > 1 else "",
        "turns": turns,
        "summary": WHY,
        "stop": "end_token",
        "cut": 0,
    }


def _rating(key: Key, scale: Scale) -> dict[str, Any]:
    draw = random.Random(key.id)
    steps = {item.id: draw.choice(item.steps) for item in scale.items}
    values = scale.values({name: step.score for name, step in steps.items()})
    return {
        "judge": "judge",
        "view": "plain",
        "items": {
            name: {"word": step.word, "score": step.score, "justification": WHY, "reason": None}
            for name, step in steps.items()
        },
        "measures": {name: value.to_json() for name, value in values.items()},
        "sent_back": {},
    }
