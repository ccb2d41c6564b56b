"""The commands that bring in what others published or rated."""

from __future__ import annotations

from pathlib import Path

import click

from cbt_ray.cli.command import cli, fields_of

settings = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Replace a field of the study file, e.g. store=s3://bucket/prefix.",
)
study_file = click.argument(
    "study", metavar="STUDY", type=click.Path(path_type=Path, dir_okay=False)
)


clone = click.argument("path", type=click.Path(path_type=Path))
scores_elsewhere = click.option(
    "--scores",
    type=click.Path(path_type=Path),
    default=None,
    help="The published table of scores, where it is elsewhere.",
)


@cli.group(
    name="import",
    epilog="Example: cbt-ray import cbt FineTuning_LLMs_for_CBT_for_Depression published.yaml",
)
def imports() -> None:
    """Bring transcripts and ratings of others into a study's store, as units that are never
    made.
    """


@imports.command(
    epilog="Example: cbt-ray import cbt FineTuning_LLMs_for_CBT_for_Depression published.yaml"
)
@clone
@study_file
@scores_elsewhere
@settings
def cbt(path: Path, study: Path, scores: Path | None, overrides: tuple[str, ...]) -> None:
    """Import the published courses, sessions and ratings of arXiv 2412.00251.

    PATH is a clone of its public repository, or a part of one: it is converted into the files that
    the other commands take, in the folder <STUDY>.published. STUDY is written where there is none.
    """
    from cbt_ray.published.cbt.convert import import_cbt

    import_cbt(path, study, scores, fields_of(overrides), click.echo)


@imports.command(epilog="Example: cbt-ray import act The_Thinking_Therapist_Final_Code act.yaml")
@clone
@study_file
@scores_elsewhere
@settings
def act(path: Path, study: Path, scores: Path | None, overrides: tuple[str, ...]) -> None:
    """Import the published sessions and ratings of The Thinking Therapist (arXiv 2509.09712).

    PATH is a clone of its public repository, or a part of one. Ratings are read from the judge's
    own texts; where the published table of scores has others, the import names them.
    """
    from cbt_ray.published.act.convert import import_act

    import_act(path, study, scores, fields_of(overrides), click.echo)


@imports.command(epilog="Example: cbt-ray import sessions transcripts.jsonl own.yaml")
@click.argument("file", type=click.Path(path_type=Path))
@study_file
@settings
def sessions(file: Path, study: Path, overrides: tuple[str, ...]) -> None:
    """Import transcripts of any therapist, human or model: to be rated, analysed and reported.

    FILE holds one session a line, as JSON: arm, patient, number, turns; `data` writes the same.
    STUDY is written where there is none.
    """
    from cbt_ray.imports.sessions import import_sessions

    import_sessions(file, study, fields_of(overrides), click.echo)


@imports.command(epilog="Example: cbt-ray import courses courses.jsonl my-demo/study.yaml")
@click.argument("file", type=click.Path(path_type=Path))
@study_file
@settings
def courses(file: Path, study: Path, overrides: tuple[str, ...]) -> None:
    """Import courses of training patients: to be trained on.

    FILE holds one course session a line, as JSON: patient_id, patient, number, turns; `data`
    writes the same.
    """
    from cbt_ray.imports.courses import import_courses

    import_courses(file, study, fields_of(overrides), click.echo)


@imports.command(
    epilog="Example: cbt-ray import ratings raters.csv own.yaml --judge ana --kind human"
)
@click.argument("file", type=click.Path(path_type=Path))
@study_file
@click.option(
    "--judge", default=None, help="Whose ratings they are, where the table has no such column."
)
@click.option(
    "--kind",
    type=click.Choice(["human", "model"]),
    default=None,
    help="What the judge is; human without it.",
)
@click.option(
    "--mapping",
    default=None,
    help="Which column is which field, where they are named otherwise: a YAML file.",
)
@click.option(
    "--complete",
    is_flag=True,
    help="The judge was to rate every session: one without a rating counts as unrated.",
)
@settings
def ratings(
    file: Path,
    study: Path,
    judge: str | None,
    kind: str | None,
    mapping: str | None,
    complete: bool,
    overrides: tuple[str, ...],
) -> None:
    """Import ratings that people or other judges gave the study's sessions.

    FILE is a CSV table: arm, patient, session, and a column for each item, or total.
    """
    from cbt_ray.imports.ratings import import_ratings

    own = fields_of(overrides)
    import_ratings(file, study, judge, kind, mapping, own, click.echo, complete=complete)
