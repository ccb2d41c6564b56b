"""The commands that work on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cbt_ray.cli.command import arguments, command, context, retry_rejected

if TYPE_CHECKING:
    from cbt_ray.study import Study

overlay = click.option(
    "--overlay",
    default="kind",
    show_default=True,
    help="A folder of k8s/overlays, or the path of another.",
)
one_model = click.option("--model", default=None, help="One model of the study.")
job_name = click.argument(
    "job",
    type=click.Choice(["generate", "fetch", "train", "export", "simulate", "evaluate", "study"]),
)


@command(
    "cbt-ray submit train studies/demo.yaml --model smollm2 --overlay kind",
    one_model,
    overlay,
    context,
    click.option(
        "--cpu-image",
        default=None,
        envvar="CBT_RAY_CPU_IMAGE",
        help="Image of all other jobs, with its tag.",
    ),
    click.option(
        "--train-image",
        default=None,
        envvar="CBT_RAY_TRAIN_IMAGE",
        help="Image of the train and export jobs, with its tag.",
    ),
    click.option(
        "--vllm-image",
        default=None,
        envvar="CBT_RAY_VLLM_IMAGE",
        help="Image of the servers of tuned models, with its tag.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        default=None,
        help="Ray worker pods; what the plan finds useful without it.",
    ),
    click.option(
        "--autoscaled",
        is_flag=True,
        help="Let Ray begin with one worker pod and add more up to that number.",
    ),
    retry_rejected,
    click.option("--no-wait", is_flag=True, help="End when the job is submitted."),
    click.option(
        "--patience",
        default=600.0,
        show_default=True,
        help="Seconds to wait for room, the cluster or the store.",
    ),
    click.option("--dry-run", is_flag=True, help="Print the objects and ask nobody."),
    before=job_name,
)
def submit(study: Study, job: str, model: str | None, dry_run: bool, **options: Any) -> None:
    """Run a job of the study in a cluster, follow it, and end with its own exit code.

    JOB is generate, fetch, train, export, simulate or evaluate; `study` is all of them in order.
    Train fetches first what it lacks, and exports then.
    """
    from cbt_ray.cluster.run import options_of, run

    asked = options_of(**options, arguments=arguments())
    run(study, job, model, asked, click.echo, dry=dry_run)


@command(
    "cbt-ray cancel simulate studies/demo.yaml --overlay kind",
    one_model,
    overlay,
    context,
    before=job_name,
)
def cancel(study: Study, job: str, model: str | None, **options: Any) -> None:
    """Delete a job from the cluster; what it has brought into the store stays."""
    from cbt_ray.cluster.run import options_of, run_cancel

    run_cancel(study, job, model, options_of(**options), click.echo)


@command(
    "cbt-ray logs train studies/demo.yaml --model smollm2 --overlay kind",
    one_model,
    overlay,
    context,
    before=job_name,
)
def logs(study: Study, job: str, model: str | None, **options: Any) -> None:
    """Print the log of a job in the cluster."""
    from cbt_ray.cluster.run import options_of, run_logs

    run_logs(study, job, model, options_of(**options), click.echo)
