"""What runs in a batch job's container: the job's commands in order, and a record of how the
attempt ended.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

from cbt_ray.__main__ import outcome, prepare
from cbt_ray.batch.attempt import SUBMISSION, Attempts
from cbt_ray.batch.job import BatchJob
from cbt_ray.errors import BelowMinimum, CbtRayError
from cbt_ray.gpu import require_gpu
from cbt_ray.store import open_store
from cbt_ray.study import load_study
from cbt_ray.training.environment import settle


def run_job(job: str, arguments: list[str]) -> NoReturn:
    """Run a job's commands and leave with the exit code.

    `arguments` are the study file and options of the command line.
    """
    prepare()
    begun = time.monotonic()
    try:
        attempts = _attempts(arguments)
        known = attempts.verdict() if attempts else None
    except CbtRayError as error:
        print(f"cbt-ray: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if known is not None:
        print(
            f"attempt {known.attempt} ended with {known.code}, which no further attempt can change",
            file=sys.stderr,
        )
        print(known.message, file=sys.stderr)
        sys.exit(known.code)
    code, message = _run(BatchJob(job), arguments)
    if message:
        print(message, file=sys.stderr)
    if attempts:
        try:
            attempts.write(code, message, time.monotonic() - begun)
        except CbtRayError as error:
            print(f"cbt-ray: the attempt could not be recorded: {error}", file=sys.stderr)
    sys.exit(code)


def _run(job: BatchJob, arguments: list[str]) -> tuple[int, str]:
    """Run the commands one after the other, up to the first that fails.

    Too few ratings are told by the report, too.
    """
    if job is BatchJob.TRAIN:
        settle()
        try:
            require_gpu()
        except CbtRayError as error:
            return error.exit_code, f"cbt-ray: {error}"
    code, message = 0, ""
    for command in job.commands:
        if code and command != "report":
            break
        own, said = outcome([command, *arguments])
        if own:
            code, message = own, said
        if own not in (0, BelowMinimum.exit_code):
            break
    return code, message


def _attempts(arguments: list[str]) -> Attempts | None:
    """The record of this submission; none outside a cluster."""
    submission = os.environ.get(SUBMISSION)
    if not submission or not arguments:
        return None
    study = load_study(arguments[0])
    return Attempts(open_store(study.store), study.study, submission)
