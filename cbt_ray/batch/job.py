"""A batch job: which commands it runs, which roles it calls, and what of the study it owes."""

from __future__ import annotations

from enum import StrEnum

from cbt_ray.count import many
from cbt_ray.errors import InputError, Owed
from cbt_ray.stages.fetch import owed_checkpoints, owed_weights
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
    SIMULATE = "simulate"
    EVALUATE = "evaluate"

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of the command line that its container runs, in order."""
        return _COMMANDS[self]

    @property
    def of_one_model(self) -> bool:
        """Whether there is one such job for each model."""
        return self in (BatchJob.FETCH, BatchJob.TRAIN)

    @property
    def on_ray(self) -> bool:
        """Whether it is a RayJob."""
        return self in (BatchJob.GENERATE, BatchJob.SIMULATE)


_COMMANDS = {
    BatchJob.GENERATE: ("generate", "dataset"),
    BatchJob.FETCH: ("fetch",),
    BatchJob.TRAIN: ("train", "export"),
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
    return not job.of_one_model or bool(checkpoints(study))


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
    if job is BatchJob.TRAIN:
        return [made.id for made in owed_checkpoints(bench, model)]
    survey = bench.survey(*_STAGES[job])
    return [key.id for stage in _STAGES[job] for key in survey.owed(stage)]


def targets(keys: Keys, job: BatchJob, model: str | None = None) -> list[str]:
    """All keys that a job is there to make, done or not: they name the job's object in the
    cluster.
    """
    if job.of_one_model:
        return [str(keys.model(made)) for made in keys.models if model in (None, made.model)]
    known = keys.all()
    return [str(key) for stage in _STAGES[job] for key in known[stage]]


_STAGES = {
    BatchJob.GENERATE: (Stage.COURSES, Stage.PAIRS, Stage.DATASET),
    BatchJob.SIMULATE: (Stage.SESSIONS,),
    BatchJob.EVALUATE: (Stage.RATINGS, Stage.ANALYSIS, Stage.REPORT),
}
_BEFORE = {
    BatchJob.TRAIN: (BatchJob.GENERATE, (Stage.PAIRS, Stage.DATASET)),
    BatchJob.SIMULATE: (BatchJob.TRAIN, (Stage.MODEL,)),
    BatchJob.EVALUATE: (BatchJob.SIMULATE, (Stage.SESSIONS,)),
}


def check_before(bench: Bench, job: BatchJob, model: str | None = None) -> None:
    """Raise Owed where what a job builds on is not there yet."""
    weights = owed_weights(bench, model) if job is BatchJob.TRAIN else []
    if weights:
        raise Owed(f"{job}: the weights of {weights[0]} are owed; {_submit(bench, BatchJob.FETCH)}")
    if job not in _BEFORE:
        return
    earlier, stages = _BEFORE[job]
    survey = bench.survey(*stages)
    for stage in stages:
        left = survey.owed(stage)
        if left:
            raise Owed(
                f"{job}: {stage} still owes {many(len(left), 'unit')}, first {left[0].id}; "
                f"{_submit(bench, earlier)}"
            )


def _submit(bench: Bench, job: BatchJob) -> str:
    return f"run first: cbt-ray submit {job} {bench.study.file}"
