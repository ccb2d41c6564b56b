"""Rejected units made owed again: what `--retry-rejected` does before a stage is carried out, here
or on a cluster.
"""

from __future__ import annotations

from cbt_ray.rating.probe import NOTHING_TO_RATE
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench


def retry_courses(bench: Bench) -> None:
    """Profiles and courses.

    The dataset, and what was trained on it, are owed where one comes out otherwise now.
    """
    survey = bench.survey(Stage.PROFILES, Stage.COURSES)
    for stage in survey.stages:
        for entry in survey.set_rejected_aside(stage):
            bench.progress.say(
                f"{stage}: {entry.key.id} was rejected ({entry.reason}), is tried again"
            )


def retry_models(bench: Bench, model: str | None = None) -> None:
    """Models that failed their parity gate.

    Their checkpoints were kept, so they are exported and judged again.
    """
    keys = {
        bench.keys.finetune(made) for made in bench.keys.finetunes if model in (None, made.model)
    }
    bench.survey(Stage.FINETUNE).set_rejected_aside(Stage.FINETUNE, among=keys)


def retry_sessions(bench: Bench) -> None:
    """Simulated sessions; after one that is held now, the others of its chain are, too."""
    bench.survey(Stage.SESSIONS).set_rejected_aside(Stage.SESSIONS)


def retry_ratings(bench: Bench) -> None:
    """Judgements, but for those of which nothing could be rated."""
    bench.survey(Stage.RATINGS).set_rejected_aside(Stage.RATINGS, keep=NOTHING_TO_RATE)
