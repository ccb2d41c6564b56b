"""A training patient's profile, as the generate stage makes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cbt_ray.errors import ModelFailure
from cbt_ray.study.split import drawn
from cbt_ray.therapy import profile
from cbt_ray.work.workplace import Workplace


def write_profile(place: Workplace, number: int, draw: int = 0) -> dict[str, Any]:
    """What a profile's unit holds; each `draw` (from 0) has a seed of its own."""
    study, filled = place.study, place.filled("generator")
    characteristics = drawn(study, study.writing.patients, number)
    if characteristics is None:
        raise ModelFailure("no_draw", "what never goes together left no draw")
    key = place.keys.profile(number)
    seed = key.seed(study.seed, draw) if draw else key.seed(study.seed)
    taken = {patient.name.casefold().split()[0] for patient in study.patients.simulated}
    answer = profile.write_profile(
        *(study.writing.patients, characteristics, study.name_of(number), taken),
        *(place.prompts, filled.role, filled.ask, seed),
    )
    return {**asdict(answer.value), "sent_back": answer.useless}
