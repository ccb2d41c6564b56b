"""The commands that begin a study of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from cbt_ray.cli.command import cli


@cli.command(epilog="Example: cbt-ray init my-study")
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--example",
    metavar="STUDY",
    help="A copy of a study that comes with cbt-ray: demo, replication, paper, act-demo, act, "
    "act-published, cbtllama-demo, cbtllama or reply-demo.",
)
def init(folder: Path, example: str | None) -> None:
    """Write a study of your own into a new folder: study file, two prompts, a scale, a rehearsal.

    It compares two prompts of one model and needs no training.
    """
    from cbt_ray.commands.init import write_own_study

    file = write_own_study(folder, example)
    how = "" if example else "; it runs as it is, with models that answer by rule"
    click.echo(f"{file}: written{how}:")
    for verb in ("check", "study"):
        click.echo(f"  cbt-ray {verb} {file}")


@cli.command(epilog="Example: cbt-ray schema > study.schema.json")
def schema() -> None:
    """Print the JSON schema of the study file, for an editor that completes and explains fields."""
    from cbt_ray.commands.init import schema_text

    click.echo(schema_text(), nl=False)
