"""Lessons: which of the rated patients a judge model learns from, as the study file alone says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cbt_ray.study.model import parted
from cbt_ray.study.scheduled import patient_slug

if TYPE_CHECKING:
    from cbt_ray.study.rater import Judge
    from cbt_ray.study.study import Study


class Split(NamedTuple):
    """Patients whose sessions people rated, as keys hold their names."""

    train: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()


def learners(study: Study) -> dict[str, Judge]:
    """The models that learn to judge, each with the rater that it is then."""
    return {
        judge.model: judge
        for judge in study.judges.values()
        if judge.tuned and judge.model is not None and judge.replicates
    }


def ratings_for(study: Study, model: str) -> list[str]:
    """Ids of the imported ratings that a model learns from, or is compared with."""
    learns, imported = study.models[model].learns, study.imported
    if learns is None or imported is None or learns.ratings not in imported.judges:
        return []
    return sorted(imported.judges[learns.ratings].ratings)


def patient_of(session: str) -> str:
    """The patient in the id of a session or of its rating, as keys hold the name."""
    return session.split(".")[1]


def learned_from(study: Study, judge: Judge) -> frozenset[str]:
    """The patients whom a judge never rates, since it learned from what people said of them."""
    learns = judge.model in study.models and judge.tuned
    return split_of(study, judge.model).train if judge.model and learns else frozenset()


def rated_by_the_headline(study: Study) -> int:
    """How many patients the rater of the headline rates."""
    judge = study.judges.get(study.headline_judge)
    return len(study.simulated) - (len(learned_from(study, judge)) if judge else 0)


def split_of(study: Study, model: str) -> Split:
    """The patients that a model learns from, and those that are held out."""
    learns, known = study.models[model].learns, set(map(patient_slug, study.simulated))
    rated = known & set(map(patient_of, ratings_for(study, model)))
    if learns is None or not rated:
        return Split()
    held_out, _ = parted({one: one for one in rated}, study.seed, learns.held_out)
    return Split(frozenset(rated - held_out), held_out)
