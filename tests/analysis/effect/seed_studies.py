"""Simulated studies whose models are trained with several seeds: what the interval of a contrast
covers.

Two models x two methods of training (a 2 x 2 study), each arm with its seeds, or on one side with
one checkpoint that nobody trained. Patients meet every seed; chains rest on 10 to 20 sessions. The
variances are those of the published scores (see calibration); half of what differs between chains
is patient x arm, half is the chain's own. How much training seeds add is unknown, so it runs from
nothing to more than all else together. Both contrasts, second method - first within either model,
are zero.
"""

from typing import Any

import numpy as np

from cbt_ray.analysis.effect import seeds

PATIENT, CHAIN = 0.38, 6.09
WITHIN = ((48.2, 181.5), (108.1, 99.9))
"""Variance between sessions of a chain: of two models, trained by either method."""
SEEDS = (0.0, 1.0, 4.0, 15.0, 60.0)
"""Variances between training seeds of an arm."""
DESIGNS = {
    f"{count} training seeds on {side}": (count, count if side == "both sides" else 1)
    for side in ("both sides", "one side")
    for count in (2, 3, 5)
}
PATIENTS = (3, 5, 10, 20)
LEVEL, FEWEST, SESSIONS = 0.95, 10, 20


def arms(
    random: np.random.Generator, count: int, patient: Any, between: float, within: float
) -> Any:
    """(studies, seeds, patients) means of chains of one arm; one seed alone is a checkpoint, which
    does not vary. `patient`: (studies, patients).
    """
    shape = len(patient), count, patient.shape[1]
    sessions = random.integers(FEWEST, SESSIONS + 1, shape)
    own = patient + random.standard_normal(patient.shape) * (CHAIN / 2) ** 0.5
    seed = random.standard_normal((*shape[:2], 1)) * between**0.5 if count > 1 else 0.0
    noise = (CHAIN / 2 + within / sessions) ** 0.5
    return own[:, None] + seed + random.standard_normal(shape) * noise


def covered(design: str, patients: int, between: float, studies: int, seed: int) -> list[float]:
    """Share of intervals that hold the truth, per model."""
    random = np.random.default_rng([seed, patients, list(DESIGNS).index(design), int(10 * between)])
    patient = random.standard_normal((studies, patients)) * PATIENT**0.5
    found = []
    for within in WITHIN:
        sides = [
            arms(random, count, patient, between, noise)
            for count, noise in zip(DESIGNS[design], within, strict=True)
        ]
        errors = np.abs(sides[0].mean(axis=(1, 2)) - sides[1].mean(axis=(1, 2)))
        held = errors <= seeds.parts(sides).half_width(1 - LEVEL)
        found.append(float(held.mean()))
    return found


def coverage(design: str, patients: int, studies: int, seed: int) -> dict[str, Any]:
    """Of all variances between seeds: the least and the most, and each."""
    shares = {str(v): covered(design, patients, v, studies, seed) for v in SEEDS}
    every = [share for found in shares.values() for share in found]
    return {
        "coverage": min(every),
        "most": max(every),
        "type_1": 1 - min(every),
        "seed_variances": shares,
    }
