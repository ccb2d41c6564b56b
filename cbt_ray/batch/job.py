"""A batch job: which commands it runs, which roles it calls, and what of the study it owes."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from cbt_ray.count import many
from cbt_ray.errors import InputError, Owed
from cbt_ray.stages.fetch import owed_weights
from cbt_ray.study import Study
from cbt_ray.study.endpoint import Role
from cbt_ray.study.scheduled import checkpoints, needs_courses
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.inputs import check_model_name
from cbt_ray.work.keys import Keys


class BatchJob(StrEnum):
    """The jobs in their order.

    Each runs in its own containers and knows of the others only by what lies in the store.
    """

    FETCH = "fetch"
    GENERATE = "generate"
    TRAIN = "train"
    EXPORT = "export"
    SIMULATE = "simulate"
    EVALUATE = "evaluate"

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of the command line that its container runs, in order."""
        return _COMMANDS[self]

    @property
    def of_one_model(self) -> bool:
        """Whether there is one such job for each model."""
        return self in (BatchJob.FETCH, BatchJob.TRAIN, BatchJob.EXPORT)

    @property
    def on_ray(self) -> bool:
        """Whether it is a RayJob."""
        return self in (BatchJob.GENERATE, BatchJob.SIMULATE)


_COMMANDS = {
    BatchJob.GENERATE: ("generate", "dataset"),
    BatchJob.FETCH: ("fetch",),
    BatchJob.TRAIN: ("train",),
    BatchJob.EXPORT: ("export",),
    BatchJob.SIMULATE: ("simulate",),
    BatchJob.EVALUATE: ("evaluate", "report"),
}


def roles_of(study: Study, job: BatchJob) -> list[Role]:
    """The roles whose models a job calls."""
    if job is BatchJob.GENERATE:
        writers = study.writing.roles if needed(study, job) else {}
        return [*writers.values(), *study.pair_roles.values()]
    if job is BatchJob.SIMULATE:
        others = filter(None, [study.patient_role, study.summariser])
        return [*others, *(study.therapist(arm) for arm in study.arms)]
    return [*study.judges.values()] if job is BatchJob.EVALUATE else []


def needed(study: Study, job: BatchJob) -> bool:
    """Whether an arm of the study needs a job."""
    if job is BatchJob.GENERATE:
        return needs_courses(study)
    return not job.of_one_model or bool(models_of(study, job))


def models_of(study: Study, job: BatchJob) -> list[str]:
    """The models that have such a job of their own."""
    made = checkpoints(study)
    return sorted({one.model for one in made if one.tuned or job is not BatchJob.TRAIN})


def check_model(study: Study, job: BatchJob, model: str | None) -> None:
    """Raise InputError where a model is named that the study lacks, or is named to a job of all
    models.
    """
    check_model_name(study, model)
    if model is not None and not job.of_one_model:
        raise InputError(f"--model: expected none, since {job} is one job for all models")


def owed(bench: Bench, job: BatchJob, model: str | None = None) -> list[str]:
    """What a job still has to bring into the store: ids of units, or of weights.

    Empty: the job is finished.
    """
    if job is BatchJob.FETCH:
        return owed_weights(bench, model)
    survey, wanted = bench.survey(*_STAGES[job]), set(targets(bench.keys, job, model))
    left = [key for stage in _STAGES[job] for key in survey.owed(stage)]
    return [key.id for key in left if not job.of_one_model or str(key) in wanted]


def targets(keys: Keys, job: BatchJob, model: str | None = None) -> list[str]:
    """All keys that a job is there to make, done or not: they name the job's object in the
    cluster.
    """
    if job.of_one_model:
        made = keys.tuned if job is BatchJob.TRAIN else keys.models
        key = keys.adapter if job is BatchJob.TRAIN else keys.model
        return [str(key(one)) for one in made if model in (None, one.model)]
    known = keys.all()
    return [str(key) for stage in _STAGES[job] for key in known[stage]]


_STAGES = {
    BatchJob.GENERATE: (Stage.COURSES, Stage.PAIRS, Stage.DATASET),
    BatchJob.TRAIN: (Stage.ADAPTER,),
    BatchJob.EXPORT: (Stage.MODEL,),
    BatchJob.SIMULATE: (Stage.SESSIONS,),
    BatchJob.EVALUATE: (Stage.RATINGS, Stage.ANALYSIS, Stage.REPORT),
}
_BEFORE = {
    BatchJob.TRAIN: (BatchJob.GENERATE, (Stage.PAIRS, Stage.DATASET)),
    BatchJob.EXPORT: (BatchJob.TRAIN, (Stage.ADAPTER,)),
    BatchJob.SIMULATE: (BatchJob.EXPORT, (Stage.MODEL,)),
    BatchJob.EVALUATE: (BatchJob.SIMULATE, (Stage.SESSIONS,)),
}


def check_before(
    bench: Bench, job: BatchJob, model: str | None, command: Callable[[BatchJob], str]
) -> None:
    """Raise Owed where what a job builds on is not there yet.

    `command`: what submits a job, for the line that says which to submit first.
    """
    weights = owed_weights(bench, model) if job in (BatchJob.TRAIN, BatchJob.EXPORT) else []
    if weights:
        raise Owed(
            f"{job}: the weights of {weights[0]} are owed; run first: {command(BatchJob.FETCH)}"
        )
    if job not in _BEFORE:
        return
    earlier, stages = _BEFORE[job]
    survey = bench.survey(*stages)
    for stage in stages:
        left = survey.owed(stage)
        if model is not None and stage is Stage.ADAPTER:
            known = targets(bench.keys, earlier, model)
            left = [key for key in left if str(key) in known]
        if left:
            raise Owed(
                f"{job}: {stage} still owes {many(len(left), 'unit')}, first {left[0].id}; "
                f"run first: {command(earlier)}"
            )
