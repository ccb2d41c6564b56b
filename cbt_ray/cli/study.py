"""The commands that work on this machine: the stages, and what tells of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cbt_ray.cli.command import (
    NOT_CLINICAL,
    arguments,
    as_json,
    command,
    context,
    examine_study,
    inline,
    only,
    retry_rejected,
    with_bench,
)
from cbt_ray.terminal import within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbt_ray.study import Study
    from cbt_ray.study.load import Examined
    from cbt_ray.work.bench import Bench


def _print(document: object) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=1))


@command(
    "cbt-ray plan studies/demo.yaml --nodes 1 --nodes 4",
    click.option(
        "--nodes",
        type=click.IntRange(1, 10_000),
        multiple=True,
        help="Say how long the stages take on so many nodes, too. May be given several times.",
    ),
    click.option(
        "--cores",
        type=click.IntRange(1, 4096),
        default=4,
        show_default=True,
        help="CPUs of each of these nodes.",
    ),
    click.option(
        "--gpu",
        metavar="NAME[=DOLLARS]",
        help="Say how long trainings take on such a GPU, too, and what they cost at so many "
        "dollars an hour: l4, a10g, a40, l40s, a100, h100, h200.",
    ),
    as_json,
)
def plan(study: Study, nodes: Sequence[int], cores: int, gpu: str | None, as_json: bool) -> None:
    """Estimate calls, tokens, cost and time before anything runs. Needs no network."""
    from cbt_ray.commands.plan import plan_document, print_plan
    from cbt_ray.planning.gpu import Gpu
    from cbt_ray.planning.nodes import Nodes
    from cbt_ray.work.inputs import at, check_prompts
    from cbt_ray.work.workshop import prompts_of

    named = Gpu.of(gpu) if gpu is not None else None
    with at(study):
        check_prompts(study, prompts_of(study))
        some = [Nodes(number, cores) for number in nodes]
        if as_json:
            return _print(plan_document(study, some, named))
        return print_plan(study, within(click.echo), some, named)


@command(
    "cbt-ray check studies/demo.yaml",
    click.option(
        "--call",
        is_flag=True,
        help="Ask every endpoint that is called one short question, too; that is paid for.",
    ),
    as_json,
    read=examine_study,
)
def check(examined: Examined, call: bool, as_json: bool) -> None:
    """Say all that would be refused, one line each: fields, prompts, scale, weights, keys.

    Calls no model without --call.
    """
    from cbt_ray.commands.check import check as look
    from cbt_ray.errors import InputError
    from cbt_ray.work.bench import Bench
    from cbt_ray.work.inputs import at
    from cbt_ray.work.progress import Silent

    def bench_of(study: Study) -> Bench:
        with at(study):
            return Bench(study, Silent(), inline=True, checked=False)

    if not as_json:
        return look(examined, bench_of, click.echo, call=call)
    said: list[str] = []
    try:
        look(examined, bench_of, said.append, call=call)
    except InputError as error:
        _print({"problems": list(error.problems), "said": said})
        raise click.exceptions.Exit(error.exit_code) from None
    return _print({"problems": [], "said": said})


@command("cbt-ray generate studies/demo.yaml", inline, only, retry_rejected)
def generate(study: Study, inline: bool, only: str | None, retry_rejected: bool) -> None:
    """Write the training patients' profiles and courses."""
    from cbt_ray.stages.generate import generate as stage

    with_bench(
        study, lambda bench: stage(bench, retry_rejected=retry_rejected), inline=inline, only=only
    )


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
    """Bring the weights that recipes name by a hub id into the store.

    HF_ENDPOINT and HF_TOKEN are obeyed.
    """
    from cbt_ray.stages.fetch import fetch as stage

    def fetched(bench: Bench) -> None:
        if not stage(bench, model):
            click.echo("fetch: nothing to fetch: no weights are owed")

    with_bench(study, fetched)


@command(
    "cbt-ray train studies/demo.yaml --model smollm2",
    click.option("--model", default=None, help="One model of the study; all of them without it."),
    retry_rejected,
)
def train(study: Study, model: str | None, retry_rejected: bool) -> None:
    """Train the adapters of the models that are tuned, on the dataset.

    No other stage needs a GPU.
    """
    from cbt_ray.stages.fetch import owed_checkpoints
    from cbt_ray.stages.judged import wanted
    from cbt_ray.stages.train import train as stage
    from cbt_ray.unit import Stage

    def trained(bench: Bench) -> None:
        stage(bench, model, retry_rejected=retry_rejected)
        if not set(wanted(bench, model)).isdisjoint(owed_checkpoints(bench, model)):
            chosen = ("--model", model) if model else ()
            click.echo(f"train: next: {bench.command(Stage.MODEL, *chosen)}")

    with_bench(study, trained)


@command(
    "cbt-ray export studies/demo.yaml --model smollm2",
    click.option("--model", default=None, help="One model of the study; all of them without it."),
    retry_rejected,
)
def export(study: Study, model: str | None, retry_rejected: bool) -> None:
    """Make GGUF and safetensors of the adapters, and of the models that they are compared with, and
    judge what was made.
    """
    from cbt_ray.stages.export import export as stage

    with_bench(study, lambda bench: stage(bench, model, retry_rejected=retry_rejected))


@command("cbt-ray simulate studies/demo.yaml", inline, only, retry_rejected)
def simulate(study: Study, inline: bool, only: str | None, retry_rejected: bool) -> None:
    """Hold the sessions of every arm with every simulated patient."""
    from cbt_ray.stages.simulate import simulate as stage

    with_bench(
        study, lambda bench: stage(bench, retry_rejected=retry_rejected), inline=inline, only=only
    )


@command("cbt-ray evaluate studies/demo.yaml", inline, only, retry_rejected)
def evaluate(study: Study, inline: bool, only: str | None, retry_rejected: bool) -> None:
    """Have the judge rate the sessions, and analyse the scores."""
    from cbt_ray.stages.whole import evaluate as stage

    with_bench(
        study, lambda bench: stage(bench, retry_rejected=retry_rejected), inline=inline, only=only
    )


@command(
    "cbt-ray preregister studies/demo.yaml --to analysis-plan.md",
    click.option(
        "--to", "file", type=click.Path(path_type=Path), required=True, help="File that is written."
    ),
)
def preregister(study: Study, file: Path) -> None:
    """Declare the analysis in the store, with hash and date, and write it as a document."""
    from datetime import UTC, datetime

    from cbt_ray.commands.preregister import preregister as write

    with_bench(study, lambda bench: write(bench, file, datetime.now(UTC), click.echo))


in_cluster = click.option(
    "--overlay", default=None, help="Ask the cluster of this overlay of k8s/, such as kind."
)


@command(
    "cbt-ray report studies/demo.yaml",
    in_cluster,
    context,
    click.option(
        "--to",
        "folder",
        type=click.Path(path_type=Path),
        default=None,
        help="With --overlay: the folder that is written.",
    ),
    click.option(
        "--transcripts",
        type=click.Choice(["inside", "beside", "none"]),
        default=None,
        help="Inside the page, in files next to it, or none; by default next to it where they are "
        "large.",
    ),
)
def report(
    study: Study,
    overlay: str | None,
    context: str | None,
    folder: Path | None,
    transcripts: Literal["inside", "beside", "none"] | None,
) -> None:
    """Write the report, one HTML page; with --overlay, fetch the one that the cluster wrote."""
    if overlay:
        from cbt_ray.cluster.run import fetch_report, options_of

        asked = options_of(overlay, context, arguments=arguments())
        return fetch_report(study, folder, asked, click.echo)
    from cbt_ray.stages.report import write_report

    return with_bench(
        study, lambda bench: click.echo(f"report: {write_report(bench, transcripts)}")
    )


@command("cbt-ray study studies/demo.yaml", inline)
def study(study: Study, inline: bool) -> None:
    """Run all stages; running it again does what is owed."""
    from cbt_ray.stages.whole import run_study

    with_bench(study, lambda bench: run_study(bench, click.echo), inline=inline, checked=False)


@command(
    "cbt-ray status studies/demo.yaml",
    in_cluster,
    context,
    click.option(
        "--watch",
        "watched",
        is_flag=True,
        help="Show it anew until nothing is owed, or until Ctrl-C; where nothing can be drawn, a "
        "line for each change.",
    ),
    as_json,
)
def status(
    study: Study, overlay: str | None, context: str | None, watched: bool, as_json: bool
) -> None:
    """Show what is done, rejected (why), not reached and owed in each stage, and what it has cost
    so far.

    With --overlay, what runs in the cluster, too.
    """
    from cbt_ray.commands.status import Status, print_status
    from cbt_ray.commands.watch import watch

    if watched and as_json:
        raise click.UsageError("--watch: expected without --json")

    def show(bench: Bench, jobs: Callable[[], Sequence[str]] = tuple) -> None:
        if as_json:
            _print({**Status(bench).document(), **({"jobs": jobs()} if overlay else {})})
        elif watched:
            watch(Status(bench), click.echo, jobs)
        else:
            print_status(bench, within(click.echo))
            for line in jobs():
                click.echo(line)

    try:
        if overlay:
            from cbt_ray.cluster.run import options_of, run_status

            run_status(study, options_of(overlay, context), click.echo, show)
        else:
            with_bench(study, show)
    except KeyboardInterrupt:  # how a watch is ended: nothing is to be said of it
        raise click.exceptions.Exit(130) from None


@command(
    "cbt-ray data studies/demo.yaml --to data",
    click.option(
        "--to",
        "folder",
        type=click.Path(path_type=Path),
        required=True,
        help="Folder that is written.",
    ),
)
def data(study: Study, folder: Path) -> None:
    """Write transcripts, dataset, ratings and scores as JSONL and CSV."""
    from cbt_ray.commands.data import write_data as write

    with_bench(study, lambda bench: write(bench, folder, click.echo))


@command(
    "cbt-ray weights studies/demo.yaml --arm smollm2-tuned --to model.gguf",
    click.option("--arm", required=True, help="The arm whose therapist it is, or a rater."),
    click.option(
        "--to",
        type=click.Path(path_type=Path),
        required=True,
        help="File for the GGUF; a folder takes everything.",
    ),
    click.option(
        "--seed",
        type=int,
        default=0,
        help="Number of the training seed, from 0, where the model is trained with several.",
    ),
)
def weights(study: Study, arm: str, to: Path, seed: int) -> None:
    """Bring an arm's model from the store: its GGUF to a file, or all its files to a folder, for a
    server of your own.
    """
    from cbt_ray.commands.weights import bring_weights

    with_bench(study, lambda bench: bring_weights(bench, arm, to, click.echo, seed))


@command(
    "cbt-ray chat studies/demo.yaml --arm smollm2-tuned",
    click.option("--arm", required=True, help="The arm whose therapist answers."),
)
def chat(study: Study, arm: str) -> None:
    """Talk with a therapist of the study. Not for clinical use."""
    from cbt_ray.commands.chat import chat as talk

    click.echo(
        f"{NOT_CLINICAL} It cannot help in a crisis: call the emergency services. An empty line "
        "ends."
    )
    with_bench(study, lambda bench: talk(bench, arm, lambda: input("you: "), click.echo))


@command(
    "cbt-ray serve studies/replication.yaml --model qwen",
    click.option("--model", required=True, help="The base model, with all that is tuned from it."),
    click.option(
        "--endpoint",
        default=None,
        help="The endpoint whose arms it serves, where the model has several.",
    ),
    click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens."),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=8000,
        show_default=True,
        help="The port it listens at.",
    ),
    click.option(
        "--vllm",
        default=None,
        metavar="PROGRAM",
        help="vLLM's program; by default next to cbt-ray or on the PATH.",
    ),
    click.option(
        "--ready",
        type=click.Path(path_type=Path),
        default=None,
        help="File that is made once the check `served` has passed.",
    ),
    click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[-- VLLM_OPTIONS...]"),
)
def serve(
    study: Study,
    model: str,
    endpoint: str | None,
    host: str,
    port: int,
    vllm: str | None,
    ready: Path | None,
    more: tuple[str, ...],
) -> None:
    """Serve a model of the study in vLLM, with the adapters of all arms that are tuned from it.

    What follows -- is handed on to vLLM.
    """
    from cbt_ray.commands.serve import Place
    from cbt_ray.commands.serve import serve as start

    place = Place(host, port, vllm, more, ready)
    with_bench(study, lambda bench: start(bench, model, endpoint, place, click.echo))
