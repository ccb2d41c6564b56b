"""The split of the training patients: who is tested, and which persona each is.

It follows from the study file alone, so that the patients of `dataset.test` are known before
anything ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbt_ray.study.model import parted
from cbt_ray.study.patients import SimulatedPatient, TrainingPatients

if TYPE_CHECKING:
    from cbt_ray.study.study import Study

TRAINING = "training"
"""What the seed of training patients is called by."""


@dataclass(frozen=True)
class Split:
    """The training patients by id, with their personas, and those with whom sessions are held."""

    personas: Mapping[str, str]
    test: frozenset[str] = frozenset()


def profile_id(number: int) -> str:
    """The readable id of a training patient's profile; patients count from 1."""
    return f"p{number:02d}"


def drawn(study: Study, training: TrainingPatients, number: int) -> dict[str, str] | None:
    """A training patient's characteristics; None where `never` left no draw."""
    return training.draw(TRAINING, study.seed, number)


def split_of(study: Study) -> Split:
    """The split of a study's training patients; patients of one persona are on one side.

    A patient with a name is a person of its own; cases without one that are alike in all but what
    is balanced are one persona. What was drawn does not say who an imported one is.
    """
    training, dataset = study.patients.training, study.dataset
    if training is None:
        return Split({})
    alone = bool(training.names) or study.sessions.opener != "case"
    imported = study.imported.profiles if study.imported else {}
    personas = {
        name: name if alone or name in imported else _persona(study, training, number)
        for number in range(1, training.count + 1)
        for name in [profile_id(number)]
    }
    # `paper` splits examples at random, and not patients.
    if dataset.format == "paper" or study.patients.simulated or not dataset.test:
        return Split(personas)
    return Split(personas, parted(personas, dataset.seed, 0, dataset.test)[1])


def _persona(study: Study, training: TrainingPatients, number: int) -> str:
    fields = drawn(study, training, number)
    return profile_id(number) if fields is None else training.persona(fields)


@dataclass(frozen=True)
class Divided:
    """The split of one study file."""

    made_of: tuple[int, ...]
    split: Split
    tested: Mapping[str, int]
    """The tested patients: id -> number."""
    simulated: tuple[SimulatedPatient, ...]
    """The same as sessions are scheduled with; their profiles are not written yet."""


def divided(study: Study, made_of: tuple[int, ...]) -> Divided:
    """How a study's training patients are divided; `made_of` are the ids of its blocks."""
    split, training = split_of(study), study.patients.training
    if training is None:
        return Divided(made_of, split, {}, ())
    numbers = ((profile_id(number), number) for number in range(1, training.count + 1))
    tested = {name: number for name, number in numbers if name in split.test}
    names = (training.names[n - 1] if training.names else name for name, n in tested.items())
    unwritten = (SimulatedPatient.model_construct(name=name, profile="") for name in names)
    return Divided(made_of, split, tested, tuple(unwritten))
