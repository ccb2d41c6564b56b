"""Submit: a batch job of a study to a cluster, once. Finished means that all its units are in the store."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.batch.attempt import Attempts
from cbt_ray.batch.job import BatchJob, check_before, check_model, owed, roles_of, targets
from cbt_ray.cluster.api import Cluster, KubernetesCluster
from cbt_ray.cluster.follow import Clock, Ending, Follower, ending_of
from cbt_ray.cluster.overlay import STAGE, Overlay, render
from cbt_ray.cluster.submission import KEYS, LABEL, Images, Submission, pods_for
from cbt_ray.commands.plan import estimate
from cbt_ray.errors import BelowMinimum, Infrastructure, InputError
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, LlamaCppEndpoint
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.engine import cpus_of
from cbt_ray.work.progress import Silent

CREDENTIALS = "store"
"""The Secret with the store's credentials."""
GONE_S = 120.0
STAGES = {BatchJob.GENERATE: Stage.COURSES, BatchJob.SIMULATE: Stage.SESSIONS}


@dataclass(frozen=True)
class Options:
    """How to submit."""

    overlay: str = "kind"
    context: str | None = None
    images: Images = field(default_factory=Images)
    workers: int | None = None
    autoscaled: bool = False
    wait: bool = True
    patience: float = 600.0


@dataclass
class Site:
    """A study on a cluster: the overlay, the cluster, and the store as this machine reaches it."""

    study: Study
    overlay: Overlay
    cluster: Cluster
    bench: Bench
    say: Callable[[str], object]
    options: Options
    clock: Clock = field(default_factory=Clock)


def open_site(study: Study, options: Options, say: Callable[[str], object]) -> Site:
    """Reach the cluster and the store of a study. Raises InputError or Infrastructure."""
    overlay = render(options.overlay)
    cluster = KubernetesCluster(overlay.namespace, options.context)
    _take_credentials(cluster)
    outside = overlay.settings.get("store_outside") or study.store
    there = study.model_copy(update={"store": outside})
    return Site(study, overlay, cluster, Bench(there, Silent()), say, options)


def store_in_cluster(study: Study, overlay: Overlay) -> str:
    """The store's URL as pods reach it: the overlay's, or the study file's own."""
    store = overlay.settings.get("store") or study.store
    if not store.startswith("s3://"):
        raise InputError(
            f"{study.file}: store: expected s3://bucket/prefix, since {store!r} is a folder of this machine "
            f"and the overlay {overlay.name} names no store"
        )
    return store


def make_submission(
    study: Study, overlay: Overlay, job: BatchJob, model: str | None, options: Options, keys: list[str]
) -> Submission:
    """Everything of a submission but what the cluster decides. Raises InputError where the study needs this machine's files."""
    _check_files(study)
    template, roles = overlay.template(job), roles_of(study, job)
    pods = options.workers
    if job.on_ray and pods is None:
        tasks = sum(one.useful_workers(study) for one in estimate(study) if one.stage is STAGES[job])
        pods = pods_for(tasks, cpus_of(study, roles), template)
    return Submission(
        job=job,
        study=study,
        store=store_in_cluster(study, overlay),
        targets=keys,
        images=options.images,
        model=model,
        prompts=_own_prompts(study),
        keys=tuple(sorted(key for role in roles if (key := _key_of(study, role.endpoint)))),
        pods=pods,
        autoscaled=options.autoscaled and job.on_ray,
        id=secrets.token_hex(6),
    )


def dry_run(study: Study, job: BatchJob, model: str | None, options: Options) -> str:
    """The objects that would be created, as YAML; asks neither cluster nor store."""
    from cbt_ray.work.keys import Keys
    from cbt_ray.work.workplace import prompts_of

    check_model(study, job, model)
    overlay = render(options.overlay)
    keys = targets(Keys(study, prompts_of(study)), job, model)
    submission = make_submission(study, overlay, job, model, options, keys)
    filled = submission.fill(overlay.template(job))
    config = submission.config_map(filled["metadata"]["name"], overlay.namespace)
    return str(yaml.safe_dump_all([config, filled], explicit_start=True, sort_keys=False, allow_unicode=True))


def submit(site: Site, job: BatchJob, model: str | None = None) -> Ending:
    """Submit a job, or attach to it where it runs; end with its own exit code. Nothing is created where nothing is owed."""
    check_model(site.study, job, model)
    if not owed(site.bench, job, model):
        site.say(f"{_title(job, model)}: finished, all its units are in the store")
        return _minimum(site.bench, job)
    check_before(site.bench, job)
    keys = targets(site.bench.keys, job, model)
    submission = make_submission(site.study, site.overlay, job, model, site.options, keys)
    _check_secret(site, submission.keys)
    name, identity = _create(site, submission)
    kind = "RayJob" if job.on_ray else "Job"
    if not site.options.wait:
        site.say(f"{_title(job, model)}: {name} is submitted")
        return Ending(0)
    attempts = Attempts(site.bench.store, site.study.study, identity)
    follower = Follower(site.cluster, attempts, kind, name, identity, site.say, site.options.patience, site.clock)
    ending = follower.follow()
    if ending.code == 0 and (left := owed(site.bench, job, model)):
        return Ending(1, f"{name} ended, but {len(left)} units are owed, first {left[0]}")
    return ending


def _create(site: Site, submission: Submission) -> tuple[str, str]:
    """Create the object, unless one of its name runs; a failed or finished one is replaced. Answers its name and submission."""
    filled = submission.fill(site.overlay.template(submission.job))
    name, kind, identity = filled["metadata"]["name"], filled["kind"], submission.id
    known = site.cluster.get(kind, name)
    if known is not None and known["metadata"].get("deletionTimestamp") is None and ending_of(known) is None:
        site.say(f"{name} runs already; attached to it")
        return name, known["metadata"]["labels"][LABEL]
    if known is not None:
        site.say(f"{name} has ended with units owed; replaced")
        _remove(site, kind, name)
    site.cluster.create(submission.config_map(name, site.overlay.namespace))
    made = site.cluster.create(filled)
    owner = {key: made[key] for key in ("apiVersion", "kind")} | {key: made["metadata"][key] for key in ("name", "uid")}
    site.cluster.patch("ConfigMap", name, {"metadata": {"ownerReferences": [owner]}})
    site.say(f"{name} is created")
    return name, identity


def _remove(site: Site, kind: str, name: str) -> None:
    """Delete an object with its ConfigMap and wait until both are gone."""
    begun = site.clock.now()
    site.cluster.delete(kind, name)
    site.cluster.delete("ConfigMap", name)
    while site.cluster.get(kind, name) is not None or site.cluster.get("ConfigMap", name) is not None:
        if site.clock.now() - begun > GONE_S:
            raise Infrastructure(f"cluster: {name} is still there {GONE_S:.0f} s after it was deleted")
        site.clock.sleep(1.0)


def cancel(site: Site, job: BatchJob, model: str | None = None) -> list[str]:
    """Delete a job's objects; what lies in the store stays. Answers their names."""
    names = []
    for document in jobs_of(site, job, model):
        name = str(document["metadata"]["name"])
        site.cluster.delete(document["kind"], name)
        site.cluster.delete("ConfigMap", name)
        names.append(name)
    return names


def jobs_of(site: Site, job: BatchJob | None = None, model: str | None = None) -> list[dict[str, Any]]:
    """The study's objects in the cluster, of one job or of all."""
    wanted = {"cbt-ray/study": site.study.study, STAGE: job, "cbt-ray/model": model}
    labels = ",".join(f"{name}={value}" for name, value in wanted.items() if value)
    found = []
    for kind in ("RayJob", "Job"):
        for document in site.cluster.find(kind, labels):
            if (
                LABEL in document["metadata"].get("labels", {})
                and "ray.io/originated-from-cr-name" not in document["metadata"]["labels"]
            ):
                found.append({**document, "kind": kind})
    return found


def _minimum(bench: Bench, job: BatchJob) -> Ending:
    """Whether a finished job reached the study file's minimum: its own command says so, with nothing left to do."""
    from cbt_ray.stages.generate import generate
    from cbt_ray.stages.simulate import simulate
    from cbt_ray.stages.whole import evaluate

    check = {BatchJob.GENERATE: generate, BatchJob.SIMULATE: simulate, BatchJob.EVALUATE: evaluate}.get(job)
    try:
        if check is not None:
            check(bench)
    except BelowMinimum as error:
        return Ending(error.exit_code, str(error))
    return Ending(0)


def _title(job: BatchJob, model: str | None) -> str:
    return f"{job} {model}" if model else job.value


def _check_files(study: Study) -> None:
    """What a study names must be in the images or in the store: a file of this machine is not."""
    for name, endpoint in study.endpoints.items():
        if isinstance(endpoint, LlamaCppEndpoint) and not endpoint.gguf.startswith(("package:", "finetuned")):
            raise InputError(
                f"{study.file}: endpoints.{name}.gguf: expected package:NAME/FILE or finetuned on a cluster, "
                f"{endpoint.gguf} is a file of this machine"
            )


def _own_prompts(study: Study) -> dict[str, str]:
    """The study's own folder of prompts, as a ConfigMap can hold it."""
    if study.prompts is None:
        return {}
    folder = Path(study.file.parent / study.prompts)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_text() for file in files}


def _key_of(study: Study, endpoint: str) -> str | None:
    found = study.endpoints[endpoint]
    return found.api_key_env if isinstance(found, LiteLLMEndpoint) else None


def _check_secret(site: Site, keys: tuple[str, ...]) -> None:
    """Raise InputError where the cluster lacks a key that the job's endpoints need."""
    if not keys:
        return
    secret = site.cluster.get("Secret", KEYS) or {}
    missing = [key for key in keys if key not in (secret.get("data") or {})]
    if missing:
        make = f"kubectl -n {site.overlay.namespace} create secret generic {KEYS}"
        raise InputError(
            f'Secret {KEYS}: expected {missing[0]}; make it with: {make} --from-literal={missing[0]}="${missing[0]}"'
        )


def _take_credentials(cluster: Cluster) -> None:
    """Use the cluster's own credentials of the store, where this machine's environment has none."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return
    secret = cluster.get("Secret", CREDENTIALS)
    for name, value in ((secret or {}).get("data") or {}).items():
        if name.startswith("AWS_"):
            os.environ[name] = base64.b64decode(value).decode()
