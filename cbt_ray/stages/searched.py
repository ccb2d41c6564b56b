"""Searched: the trainings that a tuned model is chosen from, and the one that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cbt_ray.count import many
from cbt_ray.errors import GateFailed, Owed
from cbt_ray.stages.judged import DIVERGED, gate_failed
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.measured import Kept, Point, kept_of, point_of, points_of
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.bench import Bench

MEASURE = "held_out"
"""The split whose loss chooses."""


@dataclass(frozen=True)
class Candidate:
    """A training, with its recipe and its adapter's unit, where that is there."""

    made: Checkpoint
    recipe: Recipe
    unit: Unit | None

    @property
    def done(self) -> bool:
        """Whether it has an adapter."""
        return self.unit is not None and self.unit.status is Status.DONE

    @property
    def adapter(self) -> Unit:
        """The unit, of one that is done."""
        if self.unit is None:
            raise ValueError(f"{self.made.id} is not trained")
        return self.unit

    @property
    def measured(self) -> list[Point]:
        """Its losses on the way."""
        return points_of(self._metrics.get("measured"))

    @property
    def kept(self) -> Kept | None:
        """Which of them are its adapter's."""
        return kept_of(self._metrics.get("kept"))

    @property
    def loss(self) -> float | None:
        """By which it is compared: the held-out loss of what it keeps."""
        return loss_of(self._metrics)

    @property
    def _metrics(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.unit.content["metrics"] if self.unit else {}
        return found


def loss_of(metrics: Mapping[str, Any]) -> float | None:
    """The held-out loss of what a training keeps; None where it is no number."""
    kept = point_of(points_of(metrics.get("measured")), kept_of(metrics.get("kept")))
    return kept.loss.get(MEASURE) if kept else None


def searched(bench: Bench) -> list[Checkpoint]:
    """The tuned models that a search is for."""
    models = (made for made in bench.keys.models if made.tuned)
    return [made for made in models if bench.study.models[made.model].recipe.search is not None]


def candidates_of(
    bench: Bench, made: Checkpoint, read: Mapping[Key, Unit] | None = None
) -> list[Candidate]:
    """All that a tuned model is chosen from, in the order of the study file.

    `read`: the units that are there, where they were read before.
    """
    tried = bench.study.candidates(made)
    keys = {one: bench.keys.adapter(one) for one in tried}
    units = dict(bench.store.get_many(keys.values())) if read is None else read
    return [Candidate(one, bench.study.recipe_of(one), units.get(keys[one])) for one in tried]


def best_of(candidates: list[Candidate]) -> Candidate | None:
    """The one with the lowest loss so far, at equal losses the one of the smaller values, so that
    the order of the file decides nothing; the only one whatever its loss is.
    """
    done = [one for one in candidates if one.done]
    if len(candidates) == 1:
        return next(iter(done), None)
    found = [one for one in done if one.loss is not None]
    return min(found, key=_rank, default=None)


def _rank(one: Candidate) -> tuple[float | None, float, int, float]:
    return one.loss, one.recipe.learning_rate, one.recipe.lora.r, one.recipe.epochs


def chosen_of(
    bench: Bench, made: Checkpoint, candidates: list[Candidate] | None = None
) -> Candidate:
    """What a tuned model is made of. Raises Owed where it is not known yet.

    `candidates`: where they were read before.
    """
    candidates = candidates_of(bench, made) if candidates is None else candidates
    best = best_of(candidates)
    owed = [one for one in candidates if one.unit is None]
    if owed or best is None:
        key = bench.keys.adapter((owed or candidates)[0].made)
        again = bench.command(key.stage, "--model", made.model)
        raise Owed(f"{key}: owed; run first: {again}")
    return best


def fell(
    bench: Bench, made: Checkpoint, candidates: list[Candidate] | None = None
) -> GateFailed | None:
    """Why a model cannot be made: no training of it came to an adapter that can be chosen. None
    where one did, or may yet.

    `candidates`: where they were read before.
    """
    candidates = candidates_of(bench, made) if candidates is None else candidates
    units = [one.unit for one in candidates if one.unit is not None]
    if len(units) < len(candidates) or best_of(candidates):
        return None
    lost = [one for one in units if one.status is not Status.DONE]
    unfit = next((one for one in lost if one.reason != DIVERGED), None)
    if unfit is not None:
        return gate_failed(bench, made, unfit)
    search = bench.study.models[made.model].recipe.search
    field = "search." if search is not None and search.learning_rate else ""
    again = bench.command(Stage.ADAPTER, "--model", made.model, "--retry-rejected")
    return GateFailed(
        f"{bench.study.file}: models.{made.model}.recipe.{field}learning_rate: expected one with "
        f"which losses stay numbers; they did in none of {many(len(units), 'training')}; to train "
        f"again all the same: {again}"
    )
