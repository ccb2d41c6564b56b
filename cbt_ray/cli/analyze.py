"""The command that works on a table of ratings and not on a study."""

from __future__ import annotations

from pathlib import Path

import click

from cbt_ray.cli.command import cli, fields_of


@cli.command(epilog="Example: cbt-ray analyze scores.csv --mapping cbt --to analysed")
@click.argument("table", metavar="SCORES", type=click.Path(path_type=Path))
@click.option(
    "--mapping",
    default="cbt-ray",
    show_default=True,
    help="Which columns are what: cbt, act, a YAML file, or cbt-ray for a table that cbt-ray "
    "wrote.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder that is written; SCORES-analysis without it.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Replace a field of the analysis block, e.g. level=0.9.",
)
@click.option("--thorough", is_flag=True, help="Refit the chain model to simulated studies, too.")
@click.option("--report/--no-report", default=True, help="Write report.html, or not.")
def analyze(
    table: Path,
    mapping: str,
    folder: Path | None,
    overrides: tuple[str, ...],
    thorough: bool,
    report: bool,
) -> None:
    """Run the statistics on any table of ratings."""
    fields = fields_of(overrides) | ({"thorough": True} if thorough else {})

    from cbt_ray.commands.analyze import analyze as run

    run(table, mapping, folder or Path(f"{table.stem}-analysis"), fields, click.echo, report=report)
