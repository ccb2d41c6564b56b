"""A command: takes a study file and `--set`, has help with one real example, and imports what it
needs when it runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cbt_ray.study import Study
    from cbt_ray.study.load import Examined
    from cbt_ray.work.bench import Bench

NOT_CLINICAL = "For research on language models. Not for clinical use."
CODES = """Exit codes: 0 nothing owed; 1 something owed, run again;
2 you first (file, input, key, budget);
3 nothing owed, but a stage stayed below its minimum."""

Command = Callable[..., Any]


ORDER = (
    *("init", "schema", "check", "plan", "study", "status", "report", "data"),
    *("generate", "dataset", "fetch", "train", "export", "simulate", "evaluate"),
    *("preregister", "import", "analyze", "weights", "serve", "chat"),
    *("submit", "logs", "cancel"),
)
"""Commands as a user meets them: a study as a whole, its stages, what surrounds it, a cluster."""


class InOrder(click.Group):
    """Names its commands in the order of a study, and any other after them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"Run an LLM therapy study end to end. {NOT_CLINICAL}\n\n{CODES}",
)
@click.version_option(package_name="cbt-ray")
def cli() -> None:
    """Group of all commands."""


def read_study(path: str, overrides: tuple[str, ...]) -> Study:
    """Read the study file with the overrides of the command line."""
    from cbt_ray.study import load_study

    return load_study(path, fields_of(overrides))


def examine_study(path: str, overrides: tuple[str, ...]) -> Examined:
    """Read the study file as far as it goes, with the overrides of the command line."""
    from cbt_ray.study.load import examine

    return examine(path, fields_of(overrides))


def command(
    example: str,
    *options: Callable[[Command], Command],
    before: Callable[[Command], Command] | None = None,
    read: Callable[[str, tuple[str, ...]], Any] = read_study,
) -> Callable[[Command], click.Command]:
    """Make a command that takes a study file and `--set`, with one real example in its help.

    `before` it an argument.
    """

    def decorate(function: Command) -> click.Command:
        @functools.wraps(function)
        def with_study(study: str, overrides: tuple[str, ...], **options: Any) -> Any:
            return function(
                read(study, overrides), **options
            )  # before the function imports what it needs

        wrapped: Command = with_study
        for option in options:
            wrapped = option(wrapped)
        wrapped = click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Replace a field of the study file, e.g. seed=7.",
        )(wrapped)
        wrapped = click.argument("study", metavar="STUDY", type=click.Path())(wrapped)
        wrapped = before(wrapped) if before else wrapped
        return cli.command(epilog=f"Example: {example}")(wrapped)

    return decorate


inline = click.option(
    "--inline", is_flag=True, help="One job after the other in this process, without workers."
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="The same as one JSON object, for a program."
)
only = click.option(
    "--only",
    metavar="JOB",
    default=None,
    help="One job alone, by the name that the report of a lost worker gives.",
)
retry_rejected = click.option("--retry-rejected", is_flag=True, help="Try rejected units again.")


def fields_of(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The fields of `--set FIELD=VALUE`. Raises InputError."""
    from cbt_ray.errors import InputError
    from cbt_ray.reading import yaml_of

    values: dict[str, Any] = {}
    for override in overrides:
        field, sign, value = override.partition("=")
        if not sign or not field:
            raise InputError(f"--set {field}: expected FIELD=VALUE, such as seed=7")
        values[field] = yaml_of(value, f"--set {field}")
    return values


def with_bench(
    study: Study,
    work: Callable[[Bench], None],
    *,
    inline: bool = False,
    only: str | None = None,
    checked: bool = True,
) -> None:
    """Open a bench, do the work, let go of the engine.

    What is not `checked` here, the work checks itself.
    """
    from cbt_ray.work.bench import Bench
    from cbt_ray.work.inputs import at
    from cbt_ray.work.progress import for_terminal

    with at(study):
        bench = Bench(
            study, for_terminal(), inline=inline, only=only, arguments=arguments(), checked=checked
        )
        try:
            work(bench)
        finally:
            bench.close()


def arguments() -> tuple[str, ...]:
    """Study file and `--set` of the command that runs."""
    given = click.get_current_context().params
    return (
        given["study"],
        *(word for override in given["overrides"] for word in ("--set", override)),
    )


context = click.option(
    "--context", default=None, help="The kubeconfig's context; its current one without it."
)
