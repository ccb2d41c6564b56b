"""What a study schedules, as its arms need it: sessions, checkpoints, and courses only where a
model is trained.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from cbt_ray.study.endpoint import Role, is_finetuned
from cbt_ray.study.form import Form
from cbt_ray.study.model import Arm, Checkpoint
from cbt_ray.study.patients import SimulatedPatient, TrainingPatients, in_key
from cbt_ray.study.protocol import Courses
from cbt_ray.unit import digest

if TYPE_CHECKING:
    from cbt_ray.study.study import Study


LONGEST_SLUG = 100
"""Bytes: a file's name takes 255, and a key holds more than the patient."""


@dataclass(frozen=True)
class Writing:
    """What courses are written with."""

    patients: TrainingPatients
    courses: Courses
    generator: Role
    course_patient: Role | None
    """None where a case is all that the patient says."""
    critic: Role | None
    form: Form

    @property
    def roles(self) -> dict[str, Role]:
        """Who is asked for courses, by name."""
        if self.courses.write == "parts":
            return {"generator": self.generator}
        others = {"course_patient": self.course_patient, "critic": self.critic}
        asked = {name: role for name, role in others.items() if role is not None}
        return {"generator": self.generator, **asked}


@cache
def patient_slug(patient: SimulatedPatient) -> str:
    """The patient's name as a part of a key: its letters and digits, of whatever script, in lower
    case, with hyphens for all else.

    A name too long for the file that it becomes a part of ends in a digest.
    """
    folded = unicodedata.normalize("NFC", patient.name.casefold())
    slug = "-".join("".join(c if in_key(c) else " " for c in folded).split())
    if len(slug.encode()) <= LONGEST_SLUG:
        return slug
    kept = slug.encode()[: LONGEST_SLUG - 17].decode(errors="ignore")
    return f"{kept}-{digest(slug)}"


def session_id(
    arm: Arm, patient: SimulatedPatient, replicate: int, session: int, seed: int = 0
) -> str:
    """The readable id of a simulated session; of a checkpoint after the first with its number."""
    chain = f"r{replicate}" + (f"t{seed}" if seed else "")
    return f"{arm.name}.{patient_slug(patient)}.{chain}.s{session:02d}"


def seeds_of(study: Study, arm: Arm) -> range:
    """Numbers of the training seeds that an arm holds its sessions with; 0 where none is tuned."""
    model = study.models.get(arm.model or "")
    return range(model.seeds if arm.tuned and model is not None else 1)


def all_imported(study: Study, arm: Arm) -> bool:
    """Whether all sessions of an arm were imported."""
    imported = study.imported.sessions if study.imported else {}
    return bool(imported) and all(
        session_id(arm, who, replicate, number, seed) in imported
        for seed in seeds_of(study, arm)
        for who in study.simulated
        for replicate in range(1, study.sessions.replicates + 1)
        for number in range(1, study.sessions.count + 1)
    )


def is_made(study: Study, arm: Arm) -> bool:
    """Whether the arm's therapist is what the export made, as a GGUF or in vLLM."""
    return is_finetuned(study.endpoints.get(study.therapist(arm).endpoint))


def checkpoints(study: Study) -> list[Checkpoint]:
    """What the export makes: all tuned models, and the instruct ones that are served as it
    exports them, for arms and for judges.

    An arm whose sessions were all imported needs none.
    """
    found = {
        Checkpoint(arm.model, arm.tuned, seed)
        for arm in study.arms
        if arm.model is not None and (arm.tuned or is_made(study, arm))
        if not all_imported(study, arm)
        for seed in seeds_of(study, arm)
    }
    found |= {one.made for one in study.judges.values() if one.made and one.replicates}
    return sorted(found)


def is_judge(study: Study, made: Checkpoint) -> bool:
    """Whether a checkpoint was trained on people's ratings."""
    model = study.models.get(made.model)
    return made.tuned and model is not None and model.learns is not None


def needs_courses(study: Study) -> bool:
    """Whether courses belong to the study: a model is trained on them, sessions are held with their
    patients, or they were imported.
    """
    held = study.imported
    trained = any(made.tuned and not is_judge(study, made) for made in checkpoints(study))
    return trained or bool(study.tested) or bool(held and (held.courses or held.profiles))
