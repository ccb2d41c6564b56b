"""Rejected units made owed again: what `--retry-rejected` does before a stage is carried out, here
or on a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from cbt_ray.rating.probe import NOTHING_TO_RATE
from cbt_ray.unit import Key, Stage
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


def retry_adapters(bench: Bench, model: str | None = None) -> None:
    """Adapters of bases that were found unfit, and of candidates that diverged."""
    tuned = [made for made in bench.keys.tuned if model in (None, made.model)]
    _retry(bench, Stage.ADAPTER, map(bench.keys.adapter, tuned))


def retry_models(bench: Bench, model: str | None = None) -> None:
    """Models that failed their parity gate: they are exported and judged again."""
    made = [one for one in bench.keys.models if model in (None, one.model)]
    _retry(bench, Stage.MODEL, map(bench.keys.model, made))


def _retry(bench: Bench, stage: Stage, keys: Iterable[Key]) -> None:
    bench.survey(stage).set_rejected_aside(stage, among=set(keys))


def retry_sessions(bench: Bench) -> None:
    """Simulated sessions; after one that is held now, the others of its chain are, too."""
    bench.survey(Stage.SESSIONS).set_rejected_aside(Stage.SESSIONS)


def retry_ratings(bench: Bench) -> None:
    """Judgements, but for those of which nothing could be rated."""
    bench.survey(Stage.RATINGS).set_rejected_aside(Stage.RATINGS, keep=NOTHING_TO_RATE)
