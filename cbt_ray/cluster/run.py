"""What the commands `submit`, `cancel`, `logs` and `report --overlay` do, from a study file to an exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cbt_ray.batch.job import BatchJob
from cbt_ray.cluster.follow import TALKING, Ending
from cbt_ray.cluster.submission import LABEL, Images
from cbt_ray.cluster.submit import Options, Site, cancel, dry_run, jobs_of, open_site, submit
from cbt_ray.errors import BelowMinimum, CbtRayError, InputError, Owed
from cbt_ray.study import Study

Say = Callable[[str], object]
WHOLE = "study"
_ENDINGS: dict[int, type[CbtRayError]] = {1: Owed, 2: InputError, 3: BelowMinimum}


def run(study: Study, job: str, model: str | None, options: Options, say: Say, *, dry: bool = False) -> None:
    """Submit a job, or all of them in order. Raises what the job itself ended with: Owed, InputError or BelowMinimum."""
    jobs = list(BatchJob) if job == WHOLE else [BatchJob(job)]
    if dry:
        for one in jobs:
            for name in _models(study, one, model):
                say(dry_run(study, one, name, options))
        return
    site = open_site(study, options, say)
    ending = Ending(0)
    for one in jobs:
        begun = time.monotonic()
        ending = _run_one(site, one, model)
        if job == WHOLE:
            say(f"{one}: {time.monotonic() - begun:.0f} s")
        if ending.code not in (0, 3) or (ending.code == 3 and one is not BatchJob.EVALUATE):
            break
    if job == WHOLE and options.wait and one is BatchJob.EVALUATE and ending.code in (0, 3):
        _bring_report(site, None, say)
    if ending.code:
        raise _ENDINGS.get(ending.code, Owed)(ending.message.removeprefix("cbt-ray: "))


def _run_one(site: Site, job: BatchJob, model: str | None) -> Ending:
    """One job; of a job for each model, all models beside each other. The worst ending counts."""
    models = _models(site.study, job, model)
    if job is BatchJob.TRAIN:
        for name in models:
            fetched = submit(site, BatchJob.FETCH, name)
            if fetched.code:
                return fetched
    if len(models) > 1 and site.options.wait:
        begin = replace(site, options=replace(site.options, wait=False))
        for name in models:
            submit(begin, job, name)
    endings = [submit(site, job, name) for name in models]
    return max(endings, key=lambda ending: (ending.code == 2, ending.code == 1, ending.code))


def _models(study: Study, job: BatchJob, model: str | None) -> Sequence[str | None]:
    if not job.of_one_model or model is not None:
        return [model]
    return sorted(study.models)


def run_cancel(study: Study, job: str, model: str | None, options: Options, say: Say) -> None:
    """Delete a job's objects from the cluster."""
    site = open_site(study, options, say)
    names = [name for one in (BatchJob if job == WHOLE else [BatchJob(job)]) for name in cancel(site, one, model)]
    say("\n".join(f"{name} is cancelled; its units stay in the store" for name in names) or f"{job}: nothing runs")


def run_logs(study: Study, job: str, model: str | None, options: Options, say: Say) -> None:
    """Print the log of a job's pods. Raises InputError where the cluster holds none."""
    site = open_site(study, options, say)
    found = jobs_of(site, None if job == WHOLE else BatchJob(job), model)
    if not found:
        raise InputError(f"{job}: the cluster holds no such job; its units, if any, are in the store")
    for document in found:
        for pod in site.cluster.find("Pod", f"{LABEL}={document['metadata']['labels'][LABEL]}"):
            for container in pod["spec"]["containers"]:
                if container["name"] in TALKING:
                    say(f"--- {pod['metadata']['name']}")
                    for line in site.cluster.log(pod["metadata"]["name"], container["name"], None):
                        say(line.partition(" ")[2])


def run_status(study: Study, options: Options, say: Say) -> None:
    """Print what of a study is done in the store, and what of it runs in the cluster."""
    from cbt_ray.cluster.follow import ending_of
    from cbt_ray.commands.status import print_status

    site = open_site(study, options, say)
    print_status(site.bench, say)
    for document in jobs_of(site):
        ending = ending_of(document)
        say(f"{document['metadata']['name']}: {'runs' if ending is None else 'done' if ending.code == 0 else ending.message}")


def fetch_report(study: Study, folder: Path | None, options: Options, say: Say) -> None:
    """Bring a study's report and tables from the cluster's store to a folder."""
    _bring_report(open_site(study, options, say), folder, say)


def _bring_report(site: Site, folder: Path | None, say: Say) -> None:
    study = site.study
    target = folder or Path("runs") / f"{study.study}-{site.overlay.name.strip('./').replace('/', '-')}"
    paths = [f"{study.study}/report.html", *site.bench.store.list(f"{study.study}/tables/")]
    pages = {path: site.bench.store.read(path) for path in paths}
    if pages[paths[0]] is None:
        raise Owed(f"{study.file}: the report is owed; submit evaluate first")
    for path, data in pages.items():
        file = target / path.removeprefix(f"{study.study}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data or b"")
    say(f"report: {target / 'report.html'}")


def options_of(
    overlay: str,
    context: str | None = None,
    *,
    cpu_image: str | None = None,
    train_image: str | None = None,
    workers: int | None = None,
    autoscaled: bool = False,
    no_wait: bool = False,
    patience: float = 600.0,
) -> Options:
    """Options as the command line names them."""
    return Options(overlay, context, Images(cpu_image, train_image), workers, autoscaled, not no_wait, patience)
