"""A study prepared for a cluster: what it names must be there, fit into pods, and be known by valid
names.
"""

from __future__ import annotations

import re
import secrets

from cbt_ray.batch.job import BatchJob, roles_of, targets
from cbt_ray.cluster.egress import check_store
from cbt_ray.cluster.overlay import Overlay
from cbt_ray.cluster.site import Options, store_in_cluster
from cbt_ray.cluster.submission import Submission, cpus_of_pod, pods_for
from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import PACKAGE
from cbt_ray.planning.estimate import estimate
from cbt_ray.reading import located, read_text
from cbt_ray.study import Study
from cbt_ray.study.endpoint import FINETUNED, LlamaCppEndpoint, Remote
from cbt_ray.study.lesson import learners
from cbt_ray.study.licence import check_licences
from cbt_ray.study.recipe import is_hub_id
from cbt_ray.study.serving import servers
from cbt_ray.unit import Stage
from cbt_ray.work.engine import needs_of, useful_workers
from cbt_ray.work.inputs import at
from cbt_ray.work.keys import Keys
from cbt_ray.work.preferences import check as check_pairs
from cbt_ray.work.preferences import in_store

STAGES = {BatchJob.GENERATE: Stage.COURSES, BatchJob.SIMULATE: Stage.SESSIONS}
MOST_BYTES = 900_000
"""Of a ConfigMap, which holds a MiB."""


def prepare(
    study: Study, overlay: Overlay, job: BatchJob, model: str | None, options: Options, keys: Keys
) -> Submission:
    """Everything of a submission but what the cluster decides.

    Raises InputError where the study does not fit into one.
    """
    _check_names(study)
    _check_files(study)
    _check_learners(study)
    if job.of_one_model:
        check_licences(
            study,
            [made.model for made in keys.models if made.tuned and model in (None, made.model)],
        )
    workers, pods = _workers(study, overlay, job, options)
    store = store_in_cluster(study, overlay)
    check_store(overlay, store)
    return Submission(
        job=job,
        study=study,
        store=store,
        targets=targets(keys, job, model),
        images=options.images,
        model=model,
        prompts=_own_prompts(study),
        pairs={
            name: pairs
            for name, one in study.models.items()
            if (pairs := in_store(study, one.recipe))
        },
        keys=tuple(
            sorted({key for role in roles_of(study, job) if (key := _key_of(study, role.endpoint))})
        ),
        pods=pods,
        workers=workers,
        autoscaled=options.autoscaled and job.on_ray,
        servers=tuple(servers(study)) if job is BatchJob.SIMULATE else (),
        id=secrets.token_hex(6),
    )


def _workers(
    study: Study, overlay: Overlay, job: BatchJob, options: Options
) -> tuple[int | None, int | None]:
    """Workers that are useful, and pods that hold them.

    Raises InputError where a worker fits into no pod.
    """
    if not job.on_ray:
        return None, None
    template, roles = overlay.template(job), roles_of(study, job)
    needs, room = needs_of(study, roles), cpus_of_pod(template)
    if needs.cpus > room:
        wide = next(r.endpoint for r in roles if needs_of(study, [r]).cpus == needs.cpus)
        raise InputError(
            f"{study.file}: endpoints.{wide}.threads: expected at most {room:g}, "
            f"what a worker of the overlay {overlay.name} has; found {needs.cpus}"
        )
    at_once = sum(one.at_once(study) for one in estimate(study) if one.stage is STAGES[job])
    workers = study.engine.workers or useful_workers(study, needs, at_once)
    pods = workers if needs.only_waits else pods_for(workers, needs.cpus, template)
    return workers, options.workers or pods


def _check_names(study: Study) -> None:
    """Names of the study become names and labels of objects, for which Kubernetes has rules of its
    own.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", study.study):
        raise InputError(f"{study.file}: study: expected a name from a letter to a letter or digit")
    for model in study.models:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", model):
            raise InputError(
                f"{study.file}: models.{model}: expected a name that begins and ends with a letter "
                "or digit"
            )


def _check_files(study: Study) -> None:
    """What a study names must be in the images or in the store: a file of this machine is not."""
    for name, endpoint in study.endpoints.items():
        if (
            isinstance(endpoint, LlamaCppEndpoint)
            and endpoint.gguf != FINETUNED
            and not endpoint.gguf.startswith(PACKAGE)
        ):
            raise InputError(
                f"{study.file}: endpoints.{name}.gguf: expected {PACKAGE}NAME/FILE or {FINETUNED} "
                "on a cluster, "
                f"{endpoint.gguf} is a file of this machine"
            )
    for name, model in study.models.items():
        with at(study, f"models.{name}.recipe.preferences"):
            check_pairs(study, model.recipe)
        for field in ("start", "compare"):
            weights = getattr(model.recipe, field)
            if not weights.startswith(PACKAGE) and not is_hub_id(weights):
                raise InputError(
                    f"{study.file}: models.{name}.recipe.{field}: expected {PACKAGE}NAME/FILE or a "
                    "hub id on a cluster, "
                    f"{weights} is a file of this machine"
                )


def _check_learners(study: Study) -> None:
    """People rate in the middle of such a study, and no job waits for them."""
    for model in learners(study):
        raise InputError(
            f"{study.file}: models.{model}.learns: expected none on a cluster, since people rate "
            "between its jobs; run the study on one machine"
        )


def _own_prompts(study: Study) -> dict[str, str]:
    """The study's own folder of prompts, as a ConfigMap can hold it."""
    if study.prompts is None:
        return {}
    folder = located(study.prompts, study.file.parent)
    files = sorted(
        file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")
    )
    with at(study, "prompts"):
        found = {str(file.relative_to(folder)): read_text(file) for file in files}
    if sum(map(len, found.values())) > MOST_BYTES:
        raise InputError(
            f"{study.file}: prompts: expected at most {MOST_BYTES} characters in {folder}, for a "
            "ConfigMap"
        )
    return found


def _key_of(study: Study, endpoint: str) -> str | None:
    found = study.endpoints[endpoint]
    return found.api_key_env if isinstance(found, Remote) else None
