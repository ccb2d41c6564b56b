"""Submit: a batch job of a study to a cluster, once.

Finished means that all its units are in the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import yaml

from cbt_ray.batch.attempt import Attempts
from cbt_ray.batch.job import BatchJob, check_before, check_model, owed
from cbt_ray.cluster.api import Conflict
from cbt_ray.cluster.follow import Ending, Follower, ending_of
from cbt_ray.cluster.overlay import STAGE, Overlay, render
from cbt_ray.cluster.pod import Manifest
from cbt_ray.cluster.prepare import prepare
from cbt_ray.cluster.queue import waiting
from cbt_ray.cluster.servers import Keeper, servers
from cbt_ray.cluster.site import Options, Site
from cbt_ray.cluster.submission import KEYS, LABEL, Submission
from cbt_ray.count import many
from cbt_ray.errors import BelowMinimum, GateFailed, Infrastructure, InputError
from cbt_ray.study import Study
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.inputs import at
from cbt_ray.work.keys import Keys
from cbt_ray.work.preferences import send
from cbt_ray.work.workshop import prompts_of

GONE_S = 120.0
"""Seconds that a deleted object may take to go."""


def dry_run(study: Study, job: BatchJob, model: str | None, options: Options) -> str:
    """The objects that would be created, as YAML; asks neither cluster nor store."""
    check_model(study, job, model)
    overlay = render(options.overlay)
    submission = prepare(study, overlay, job, model, options, Keys(study, prompts_of(study)))
    filled = submission.fill(overlay.template(job))
    name = filled["metadata"]["name"]
    config = submission.config_map(name, overlay.namespace)
    return str(
        yaml.safe_dump_all(
            [config, filled, *_servers(submission, name, overlay)],
            explicit_start=True,
            sort_keys=False,
            allow_unicode=True,
        )
    )


def submit(site: Site, job: BatchJob, model: str | None = None) -> Ending:
    """Submit a job, or attach to it where it runs; end with its own exit code.

    Nothing is created where nothing is owed.
    """
    check_model(site.study, job, model)
    if not site.patiently(lambda: owed(site.bench, job, model)):
        site.say(f"{_title(job, model)}: finished, all its units are in the store")
        return site.patiently(lambda: _settled(site.bench, job, model))
    submission = check(site, job, model)
    below = site.patiently(lambda: _below_minimum_of_courses(site.bench, job))
    if below.code:
        return below
    again = partial(site.command, model=model)
    site.patiently(lambda: check_before(site.bench, job, model, again))
    site.patiently(lambda: _send_pairs(site, job, model))
    name, identity = site.patiently(lambda: _create(site, submission))
    keeper = _keeper(site, replace(submission, id=identity), name)
    if not site.options.wait:
        site.patiently(lambda: _keep(site, keeper, name))
        site.say(f"{_title(job, model)}: {name} is submitted")
        return Ending(0)
    kind = "RayJob" if job.on_ray else "Job"
    attempts = Attempts(site.bench.store, site.study.study, identity)
    follower = Follower(
        site.cluster, attempts, kind, name, identity, site.say, site.options.patience, site.clock
    )
    follower.tend, follower.others = keeper.keep, keeper.names
    ending = follower.follow()
    left = site.patiently(lambda: owed(site.bench, job, model)) if ending.code == 0 else []
    return (
        Ending(1, f"{name} ended, but it owes {many(len(left), 'unit')}, first {left[0]}")
        if left
        else ending
    )


def check(site: Site, job: BatchJob, model: str | None) -> Submission:
    """The submission of a job, whose keys the cluster holds. Raises InputError."""
    submission = prepare(site.study, site.overlay, job, model, site.options, site.bench.keys)
    if submission.keys:
        secret = site.patiently(lambda: site.cluster.get("Secret", KEYS)) or {}
        missing = [key for key in submission.keys if key not in (secret.get("data") or {})]
        if missing:
            make = f"kubectl -n {site.overlay.namespace} create secret generic {KEYS}"
            raise InputError(
                f"Secret {KEYS}: expected {missing[0]}; make it with: {make} "
                f'--from-literal={missing[0]}="${missing[0]}"'
            )
    return submission


def _send_pairs(site: Site, job: BatchJob, model: str | None) -> None:
    """Bring what is trained on and lies beside the study file to where pods find it."""
    for name in site.study.models if job is BatchJob.TRAIN else ():
        if model in (None, name):
            with at(site.study, f"models.{name}.recipe.preferences"):
                send(site.study, site.bench.store, name)


def _create(site: Site, submission: Submission) -> tuple[str, str]:
    """Create the object, unless one of its name runs; one that has ended is replaced.

    Answers its name and submission.
    """
    filled = submission.fill(site.overlay.template(submission.job))
    name, kind = filled["metadata"]["name"], filled["kind"]
    known = site.cluster.get(kind, name)
    if known is not None and not is_over(site, known | {"kind": kind}):
        site.say(f"{name} runs already; attached to it")
        return name, known["metadata"]["labels"][LABEL]
    if known is not None:
        site.say(f"{name} has ended with units owed; replaced")
    _remove(site, kind, name)
    try:
        site.cluster.create(submission.config_map(name, site.overlay.namespace))
        made = site.cluster.create(filled)
    except (
        Conflict
    ) as error:  # somebody else submits the same at this moment: the next look finds theirs
        raise Infrastructure(
            f"{name}: submitted by somebody else at the same time ({error})", "connection"
        ) from None
    except InputError:
        site.cluster.delete("ConfigMap", name)
        raise
    owner = {key: made[key] for key in ("apiVersion", "kind")} | {
        key: made["metadata"][key] for key in ("name", "uid")
    }
    site.cluster.patch("ConfigMap", name, {"metadata": {"ownerReferences": [owner]}})
    site.say(f"{name} is created")
    return name, submission.id


def _servers(submission: Submission, name: str, overlay: Overlay) -> list[Manifest]:
    return servers(submission, name, overlay.servers) if submission.servers else []


def _keeper(site: Site, submission: Submission, name: str) -> Keeper:
    return Keeper(site.cluster, _servers(submission, name, site.overlay), site.say)


def _keep(site: Site, keeper: Keeper, name: str) -> None:
    """Raise Infrastructure until the job's servers are there."""
    job = site.cluster.get("RayJob", name) if keeper.manifests else None
    queued = waiting(site.cluster, job) if job is not None else None
    if queued:
        site.say(f"{name}: {queued}; submit it again to make its servers when it is admitted")
    elif job is not None and ending_of(job | {"kind": "RayJob"}) is None and not keeper.keep(job):
        raise Infrastructure(f"{name} is submitted, but KubeRay has not begun it", "server")


def is_over(site: Site, known: dict[str, Any]) -> bool:
    """Whether an object has ended, is on its way out, or goes on only to be told again that the
    user must act first.
    """
    if known["metadata"].get("deletionTimestamp") or ending_of(known) is not None:
        return True
    return (
        Attempts(site.bench.store, site.study.study, known["metadata"]["labels"][LABEL]).verdict()
        is not None
    )


def _remove(site: Site, kind: str, name: str) -> None:
    """Delete what there is of an object and its ConfigMap, and wait until both are gone."""
    begun = site.clock.now()
    for one in (kind, "ConfigMap"):
        if site.cluster.get(one, name) is not None:
            site.cluster.delete(one, name)
    while (
        site.cluster.get(kind, name) is not None or site.cluster.get("ConfigMap", name) is not None
    ):
        if site.clock.now() - begun > GONE_S:
            raise Infrastructure(
                f"cluster: {name} is still there {GONE_S:.0f} s after it was deleted"
            )
        site.clock.sleep(1.0)


def cancel(site: Site, job: BatchJob | None, model: str | None = None) -> list[str]:
    """Delete the objects of a job, or of all; what lies in the store stays. Answers their names."""
    names = []
    for document in jobs_of(site, job, model):
        name = str(document["metadata"]["name"])
        site.cluster.delete(document["kind"], name)
        site.cluster.delete("ConfigMap", name)
        names.append(name)
    return names


def jobs_of(
    site: Site, job: BatchJob | None = None, model: str | None = None
) -> list[dict[str, Any]]:
    """The study's objects in the cluster, of one job or of all."""
    if job is not None:
        check_model(site.study, job, model)
    wanted = {"cbt-ray/study": site.study.study, STAGE: job, "cbt-ray/model": model}
    labels = ",".join(
        [
            *(f"{name}={value}" for name, value in wanted.items() if value),
            LABEL,
            "!ray.io/originated-from-cr-name",
        ]
    )
    return [
        {**found, "kind": kind}
        for kind in ("RayJob", "Job")
        for found in site.cluster.find(kind, labels)
    ]


def _below_minimum_of_courses(bench: Bench, job: BatchJob) -> Ending:
    """How generate ends where its courses are there, too few of them: no dataset is made of
    them.
    """
    if job is not BatchJob.GENERATE or bench.survey(Stage.COURSES).owed(Stage.COURSES):
        return Ending(0)
    return _settled(bench, job)


def _settled(bench: Bench, job: BatchJob, model: str | None = None) -> Ending:
    """How a job ends that owes nothing, as its own command says: below the study file's minimum, or
    a parity gate failed.
    """
    from cbt_ray.stages.export import export
    from cbt_ray.stages.generate import generate
    from cbt_ray.stages.simulate import simulate
    from cbt_ray.stages.train import train
    from cbt_ray.stages.whole import evaluate

    asked: dict[BatchJob, Callable[[], None]] = {
        BatchJob.GENERATE: lambda: generate(bench),
        BatchJob.TRAIN: lambda: train(bench, model),
        BatchJob.EXPORT: lambda: export(bench, model),
        BatchJob.SIMULATE: lambda: simulate(bench),
        BatchJob.EVALUATE: lambda: evaluate(bench),
    }
    try:
        if job in asked:
            asked[job]()
    except (BelowMinimum, GateFailed) as error:
        return Ending(error.exit_code, str(error))
    return Ending(0)


def _title(job: BatchJob, model: str | None) -> str:
    return f"{job} {model}" if model else job.value
