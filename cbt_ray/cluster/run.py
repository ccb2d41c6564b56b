"""What the commands `submit`, `cancel`, `logs` and `report --overlay` do, from a study file to an
exit code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cbt_ray.batch.job import BatchJob, check_model, models_of, needed, owed
from cbt_ray.cluster.api import Cluster, Document
from cbt_ray.cluster.follow import SERVING, Ending, ending_of, talking
from cbt_ray.cluster.queue import waiting
from cbt_ray.cluster.site import Options, Site, open_site
from cbt_ray.cluster.submission import LABEL, Images
from cbt_ray.cluster.submit import cancel, check, dry_run, is_over, jobs_of, submit
from cbt_ray.cluster.trouble import name_of
from cbt_ray.commands.delivery import Delivery
from cbt_ray.errors import BelowMinimum, GateFailed, InputError, Owed
from cbt_ray.study import Study
from cbt_ray.work.bench import Bench

Say = Callable[[str], object]
Show = Callable[[Bench, Callable[[], Sequence[str]]], None]
"""Shows how far a study is, with the lines about its jobs."""
WHOLE = "study"
_TRAINED = (BatchJob.TRAIN, BatchJob.EXPORT)
"""What makes models: a gate that fails there ends one arm and not the study."""
_ENDINGS = {kind.exit_code: kind for kind in (Owed, InputError, BelowMinimum)}


def run(
    study: Study, job: str, model: str | None, options: Options, say: Say, *, dry: bool = False
) -> None:
    """Submit a job, or all of them in order.

    Raises what the job itself ended with: Owed, InputError or BelowMinimum.
    """
    asked = [one for one in BatchJob if job in (WHOLE, one) and needed(study, one)]
    if job != WHOLE:
        check_model(study, BatchJob(job), model)
    if not asked:
        say(f"{job}: no arm needs it")
        return
    if dry:
        for one, name in _each(study, asked, model):
            say(dry_run(study, one, name, options))
        return
    for flag, given in (
        ("--no-wait", not options.wait),
        ("--retry-rejected", options.retry_rejected),
    ):
        if job == WHOLE and given:
            raise InputError(
                f"{flag}: expected one job, since each job of a study builds on the one before it"
            )
    site = open_site(study, options, say)
    jobs = asked if job == WHOLE else _around(asked[0])
    if options.retry_rejected:
        for one in asked if asked == jobs else _TRAINED:
            site.patiently(partial(_retry, site, one, model))
    ending = _run_all(site, jobs, model, report=job == WHOLE)
    if ending.code:
        raise _ENDINGS.get(ending.code, Owed)(ending.message.removeprefix("cbt-ray: "))


def _around(job: BatchJob) -> list[BatchJob]:
    """A job with those that come with it.

    No GPU is asked for before the weights are there, nor held while the adapter is made a model.
    """
    return [BatchJob.FETCH, *_TRAINED] if job is BatchJob.TRAIN else [job]


def _retry(site: Site, job: BatchJob, model: str | None) -> None:
    """Make what a job rejected owed again, unless it runs: what it rejects now is not to be paid
    for again by itself.
    """
    from cbt_ray.stages import rejected

    asked: dict[BatchJob, Callable[[Bench], None]] = {
        BatchJob.GENERATE: rejected.retry_courses,
        BatchJob.TRAIN: lambda bench: rejected.retry_adapters(bench, model),
        BatchJob.EXPORT: lambda bench: rejected.retry_models(bench, model),
        BatchJob.SIMULATE: rejected.retry_sessions,
        BatchJob.EVALUATE: rejected.retry_ratings,
    }
    check_model(site.study, job, model)
    if job not in asked:
        raise InputError(f"--retry-rejected: expected a job that makes units, {job} makes none")
    running = [
        str(one["metadata"]["name"]) for one in jobs_of(site, job, model) if not is_over(site, one)
    ]
    if running:
        site.say(f"{running[0]} runs; nothing is set aside before it has ended")
        return
    asked[job](site.bench)


def _each(
    study: Study, jobs: Sequence[BatchJob], model: str | None
) -> Iterator[tuple[BatchJob, str | None]]:
    for job in jobs:
        for name in _models(study, job, model):
            check_model(study, job, name)
            yield job, name


def _owes(site: Site, job: BatchJob, model: str | None) -> bool:
    return bool(site.patiently(lambda: owed(site.bench, job, model)))


def _run_all(
    site: Site, jobs: Sequence[BatchJob], model: str | None, *, report: bool = False
) -> Ending:
    """One job after the other, up to the first that does not end well.

    Then the report, where it is asked for, also where ratings are too few.
    """
    for job, name in _each(site.study, jobs, model):
        if _owes(site, job, name):
            check(site, job, name)  # what the last one lacks is said before the first is paid for
    ending, failed = Ending(0), None
    for job, following in zip(jobs, [*jobs[1:], None], strict=True):
        begun = time.monotonic()
        waits = site.options.wait or (job is BatchJob.FETCH and following is not None)
        left = not waits and _owes(site, job, model)
        ending = _run_one(replace(site, options=replace(site.options, wait=waits)), job, model)
        if left and following and not ending.code:
            site.say(f"once it has ended: {site.command(following, model)}")
            return ending
        if len(jobs) > 1:
            site.say(f"{job}: {time.monotonic() - begun:.0f} s")
        if _gate_failed(site, job, model, ending):
            failed = ending  # the arm of that model is not reached; the others go on
        elif ending.code not in (0, 3) or (ending.code == 3 and job is not BatchJob.EVALUATE):
            return ending
    if report:
        _bring_report(site, None, site.say)
    return failed or ending


def _gate_failed(site: Site, job: BatchJob, model: str | None, ending: Ending) -> bool:
    """Whether a job ended since a gate failed: it owes nothing then."""
    code = GateFailed.exit_code
    return job in _TRAINED and ending.code == code and not _owes(site, job, model)


def _run_one(site: Site, job: BatchJob, model: str | None) -> Ending:
    """One job; of a job for each model, all models beside each other. The worst ending counts."""
    models = _models(site.study, job, model)
    owing = [name for name in models if _owes(site, job, name)] if job.of_one_model else models
    settled = [name for name in models if name not in owing and job is not BatchJob.FETCH]
    if len(owing) > 1 and site.options.wait:
        begin = replace(site, options=replace(site.options, wait=False))
        for name in owing:
            submit(begin, job, name)
    ended = _worst([submit(site, job, name) for name in owing])
    if ended.code or (owing and not site.options.wait):
        return ended
    return _worst(
        [submit(site, job, name) for name in settled]
    )  # a gate that failed earlier is said where nothing else is


def _worst(endings: list[Ending]) -> Ending:
    return max(
        endings,
        key=lambda ending: (ending.code == 2, ending.code == 1, ending.code),
        default=Ending(0),
    )


def _models(study: Study, job: BatchJob, model: str | None) -> Sequence[str | None]:
    if not job.of_one_model:
        return [model]
    return [name for name in models_of(study, job) if model in (None, name)]


def run_cancel(study: Study, job: str, model: str | None, options: Options, say: Say) -> None:
    """Delete a job's objects from the cluster."""
    site = open_site(study, options, say)
    names = cancel(site, None if job == WHOLE else BatchJob(job), model)
    say(
        "\n".join(f"{name} is cancelled; its units stay in the store" for name in names)
        or f"{job}: nothing runs"
    )


def run_logs(study: Study, job: str, model: str | None, options: Options, say: Say) -> None:
    """Print the log of a job's pods and servers. Raises InputError where the cluster holds none."""
    site = open_site(study, options, say)
    found = jobs_of(site, None if job == WHOLE else BatchJob(job), model)
    if not found:
        raise InputError(
            f"{job}: the cluster holds no such job; its units, if any, are in the store"
        )
    for document in found:
        for pod in site.cluster.find("Pod", f"{LABEL}={document['metadata']['labels'][LABEL]}"):
            for container in talking(pod, SERVING):
                say(f"--- {name_of(pod)}")
                for line in site.cluster.log(name_of(pod), container, None):
                    say(line.partition(" ")[2])


def run_status(study: Study, options: Options, say: Say, show: Show) -> None:
    """Have shown what of a study is done in the store, and what of it runs in the cluster."""
    site = open_site(study, options, say)
    show(site.bench, lambda: [_job(site.cluster, document) for document in jobs_of(site)])


def _job(cluster: Cluster, document: Document) -> str:
    """How far a job is, in a line."""
    ending = ending_of(document)
    if ending is None:
        how = waiting(cluster, document) or "runs"
    else:
        how = ending.message if ending.code else "done"
    return f"{document['metadata']['name']}: {how}"


def fetch_report(study: Study, folder: Path | None, options: Options, say: Say) -> None:
    """Bring a study's report, its transcripts and tables from the cluster's store to a folder."""
    _bring_report(open_site(study, options, say), folder, say)


def _bring_report(site: Site, folder: Path | None, say: Say) -> None:
    study = site.study
    target = (
        folder or Path("runs") / f"{study.study}-{site.overlay.name.strip('./').replace('/', '-')}"
    )
    beside = (
        path
        for part in ("report.transcripts", "tables")
        for path in site.bench.store.list(f"{study.study}/{part}/")
    )
    paths = [f"{study.study}/report.html", *beside]
    pages = {path: site.bench.store.read(path) for path in paths}
    if pages[paths[0]] is None:
        raise Owed(f"report: it is owed; run first: {site.command(BatchJob.EVALUATE)}")
    files = {path.removeprefix(f"{study.study}/"): data or b"" for path, data in pages.items()}
    Delivery(target, "report").hand_over(files)
    say(f"report: {target / 'report.html'}")


def options_of(
    overlay: str,
    context: str | None = None,
    *,
    cpu_image: str | None = None,
    train_image: str | None = None,
    vllm_image: str | None = None,
    workers: int | None = None,
    autoscaled: bool = False,
    no_wait: bool = False,
    patience: float = 600.0,
    retry_rejected: bool = False,
    arguments: tuple[str, ...] = (),
) -> Options:
    """Options as the command line names them."""
    images = Images(cpu_image, train_image, vllm_image)
    return Options(
        *(overlay, context, images, workers, autoscaled, not no_wait, patience, retry_rejected),
        arguments=arguments,
    )
