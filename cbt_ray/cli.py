"""The command line: reads the study file, calls a stage, prints.

What stages need is imported inside the commands, so that `--help` and errors come at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cbt_ray.study import Study
    from cbt_ray.work.bench import Bench

NOT_CLINICAL = "For research on language models. Not for clinical use."
CODES = """Exit codes: 0 nothing owed; 1 something owed, run again; 2 you first (file, input, key, budget);
3 nothing owed, but a stage stayed below its minimum."""

Command = Callable[..., Any]


@click.group(help=f"Run an LLM therapy study end to end. {NOT_CLINICAL}\n\n{CODES}")
@click.version_option(package_name="cbt-ray")
def cli() -> None:
    """Group of all commands."""


def command(
    example: str, *options: Callable[[Command], Command], before: Callable[[Command], Command] | None = None
) -> Callable[[Command], click.Command]:
    """Make a command that takes a study file and `--set`, with one real example in its help; `before` it an argument."""

    def decorate(function: Command) -> click.Command:
        @functools.wraps(function)
        def with_study(study: str, overrides: tuple[str, ...], **options: Any) -> Any:
            return function(read_study(study, overrides), **options)  # before the function imports what it needs

        wrapped: Command = with_study
        for option in options:
            wrapped = option(wrapped)
        wrapped = click.option(
            "--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Replace a field of the study file, e.g. seed=7."
        )(wrapped)
        wrapped = click.argument("study", metavar="STUDY", type=click.Path())(wrapped)
        wrapped = before(wrapped) if before else wrapped
        return cli.command(epilog=f"Example: {example}")(wrapped)

    return decorate


inline = click.option("--inline", is_flag=True, help="One job after the other in this process, without Ray.")
retry_rejected = click.option("--retry-rejected", is_flag=True, help="Try rejected units again.")


def read_study(path: str, overrides: tuple[str, ...]) -> Study:
    """Read the study file with the overrides of the command line."""
    import yaml

    from cbt_ray.errors import InputError
    from cbt_ray.study import load_study

    values: dict[str, Any] = {}
    for override in overrides:
        field, sign, value = override.partition("=")
        if not sign or not field:
            raise InputError(f"--set {field}: expected FIELD=VALUE, such as seed=7")
        try:
            values[field] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {field}: expected a value in YAML, such as 7, true or [1, 2]") from None
    return load_study(path, values)


def with_bench(study: Study, work: Callable[[Bench], None], *, inline: bool = False) -> None:
    """Open a bench, do the work, let go of the engine."""
    from cbt_ray.work.bench import Bench
    from cbt_ray.work.inputs import at
    from cbt_ray.work.progress import for_terminal

    with at(study):
        bench = Bench(study, for_terminal(), inline=inline)
        try:
            work(bench)
        finally:
            bench.close()


@command("cbt-ray plan studies/demo.yaml")
def plan(study: Study) -> None:
    """Estimate calls, tokens, cost and time before anything runs. Needs no network."""
    from cbt_ray.commands.plan import print_plan
    from cbt_ray.work.inputs import at, check_prompts
    from cbt_ray.work.workplace import prompts_of

    with at(study):
        check_prompts(study, prompts_of(study))
        print_plan(study, click.echo)


@command("cbt-ray generate studies/demo.yaml", inline, retry_rejected)
def generate(study: Study, inline: bool, retry_rejected: bool) -> None:
    """Write the training patients' profiles and courses."""
    from cbt_ray.stages.generate import generate as stage

    with_bench(study, lambda bench: stage(bench, retry_rejected=retry_rejected), inline=inline)


@command("cbt-ray dataset studies/demo.yaml")
def dataset(study: Study) -> None:
    """Make the training examples from the courses."""
    from cbt_ray.stages.dataset import make_dataset

    with_bench(study, make_dataset)


@command(
    "cbt-ray fetch studies/replication.yaml --model qwen",
    click.option("--model", default=None, help="One model of the study; all of them without it."),
)
def fetch(study: Study, model: str | None) -> None:
    """Bring the weights that recipes name by a hub id into the store; HF_ENDPOINT and HF_TOKEN are obeyed."""
    from cbt_ray.stages.fetch import fetch as stage

    with_bench(study, lambda bench: stage(bench, model))


@command(
    "cbt-ray train studies/demo.yaml --model smollm2",
    click.option("--model", default=None, help="One model of the study; all of them without it."),
)
def train(study: Study, model: str | None) -> None:
    """Tune the models on the dataset and export them as GGUF."""
    from cbt_ray.stages.train import train as stage

    with_bench(study, lambda bench: stage(bench, model))


@command("cbt-ray simulate studies/demo.yaml", inline, retry_rejected)
def simulate(study: Study, inline: bool, retry_rejected: bool) -> None:
    """Hold the sessions of every arm with every simulated patient."""
    from cbt_ray.stages.simulate import simulate as stage

    with_bench(study, lambda bench: stage(bench, retry_rejected=retry_rejected), inline=inline)


@command("cbt-ray evaluate studies/demo.yaml", inline, retry_rejected)
def evaluate(study: Study, inline: bool, retry_rejected: bool) -> None:
    """Have the judge rate the sessions, and analyse the scores."""
    from cbt_ray.stages.whole import evaluate as stage

    with_bench(study, lambda bench: stage(bench, retry_rejected=retry_rejected), inline=inline)


in_cluster = click.option("--overlay", default=None, help="Ask the cluster of this overlay of k8s/, such as kind.")
context = click.option("--context", default=None, help="The kubeconfig's context; its current one without it.")


@command(
    "cbt-ray report studies/demo.yaml",
    in_cluster,
    context,
    click.option(
        "--to", "folder", type=click.Path(path_type=Path), default=None, help="With --overlay: the folder that is written."
    ),
)
def report(study: Study, overlay: str | None, context: str | None, folder: Path | None) -> None:
    """Write the report, one HTML page; with --overlay, fetch the one that the cluster wrote."""
    if overlay:
        from cbt_ray.cluster.run import fetch_report, options_of

        return fetch_report(study, folder, options_of(overlay, context), click.echo)
    from cbt_ray.stages.report import write_report

    return with_bench(study, lambda bench: click.echo(f"report: {write_report(bench)}"))


@command("cbt-ray study studies/demo.yaml", inline)
def study(study: Study, inline: bool) -> None:
    """Run all stages; running it again does what is owed."""
    from cbt_ray.stages.whole import run_study

    with_bench(study, lambda bench: run_study(bench, click.echo), inline=inline)


@command("cbt-ray status studies/demo.yaml", in_cluster, context)
def status(study: Study, overlay: str | None, context: str | None) -> None:
    """Show what is done, rejected (why), not reached and owed in each stage; with --overlay, what runs in the cluster, too."""
    if overlay:
        from cbt_ray.cluster.run import options_of, run_status

        return run_status(study, options_of(overlay, context), click.echo)
    from cbt_ray.commands.status import print_status

    return with_bench(study, lambda bench: print_status(bench, click.echo))


@command(
    "cbt-ray export studies/demo.yaml --to exported",
    click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="Folder that is written."),
)
def export(study: Study, folder: Path) -> None:
    """Write transcripts, dataset, ratings and scores as JSONL and CSV."""
    from cbt_ray.commands.export import export as write

    with_bench(study, lambda bench: write(bench, folder, click.echo))


@command(
    "cbt-ray weights studies/demo.yaml --arm smollm2-tuned --to model.gguf",
    click.option("--arm", required=True, help="The arm whose therapist it is."),
    click.option("--to", "file", type=click.Path(path_type=Path), required=True, help="File that is written."),
)
def weights(study: Study, arm: str, file: Path) -> None:
    """Bring an arm's GGUF from the store to a file, for a server of your own."""
    from cbt_ray.commands.weights import bring_weights

    with_bench(study, lambda bench: bring_weights(bench, arm, file, click.echo))


@command(
    "cbt-ray chat studies/demo.yaml --arm smollm2-tuned",
    click.option("--arm", required=True, help="The arm whose therapist answers."),
)
def chat(study: Study, arm: str) -> None:
    """Talk with a therapist of the study. Not for clinical use."""
    from cbt_ray.commands.chat import chat as talk

    click.echo(f"{NOT_CLINICAL} It cannot help in a crisis: call the emergency services. An empty line ends.")
    with_bench(study, lambda bench: talk(bench, arm, lambda: input("you: "), click.echo))


overlay = click.option("--overlay", default="kind", show_default=True, help="A folder of k8s/overlays, or the path of another.")
one_model = click.option("--model", default=None, help="One model of the study.")
job_name = click.argument("job", type=click.Choice(["generate", "fetch", "train", "simulate", "evaluate", "study"]))


@command(
    "cbt-ray submit train studies/demo.yaml --model smollm2 --overlay kind",
    one_model,
    overlay,
    context,
    click.option("--cpu-image", default=None, envvar="CBT_RAY_CPU_IMAGE", help="Image of all jobs but train, with its tag."),
    click.option("--train-image", default=None, envvar="CBT_RAY_TRAIN_IMAGE", help="Image of the train job, with its tag."),
    click.option(
        "--workers", type=click.IntRange(1), default=None, help="Ray worker pods; what the plan finds useful without it."
    ),
    click.option("--autoscaled", is_flag=True, help="Let Ray begin with one worker pod and add more up to that number."),
    click.option("--no-wait", is_flag=True, help="End when the job is submitted."),
    click.option("--patience", default=600.0, show_default=True, help="Seconds to wait for room, the cluster or the store."),
    click.option("--dry-run", is_flag=True, help="Print the objects and ask nobody."),
    before=job_name,
)
def submit(study: Study, job: str, model: str | None, dry_run: bool, **options: Any) -> None:
    """Run a job of the study in a cluster, follow it, and end with its own exit code.

    JOB is generate, fetch, train, simulate or evaluate; `study` is all of them in order.
    """
    from cbt_ray.cluster.run import options_of, run

    run(study, job, model, options_of(**options), click.echo, dry=dry_run)


@command("cbt-ray cancel simulate studies/demo.yaml --overlay kind", one_model, overlay, context, before=job_name)
def cancel(study: Study, job: str, model: str | None, **options: Any) -> None:
    """Delete a job from the cluster; what it has brought into the store stays."""
    from cbt_ray.cluster.run import options_of, run_cancel

    run_cancel(study, job, model, options_of(**options), click.echo)


@command("cbt-ray logs train studies/demo.yaml --model smollm2 --overlay kind", one_model, overlay, context, before=job_name)
def logs(study: Study, job: str, model: str | None, **options: Any) -> None:
    """Print the log of a job in the cluster."""
    from cbt_ray.cluster.run import options_of, run_logs

    run_logs(study, job, model, options_of(**options), click.echo)
