"""An error that names a stage names the command that runs it, as the user would type it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.__main__ import run
from cbt_ray.cli import cli
from cbt_ray.unit import Stage
from tests.stages.scripted import ONE_TUNED, study_document, write_study


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_study(tmp_path, study_document(tmp_path / "store", **ONE_TUNED))


@pytest.mark.parametrize("stage", Stage)
def test_each_stage_has_a_command(stage: Stage) -> None:
    assert stage.command in cli.commands


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("dataset", "generate"),
        ("train", "dataset"),
        ("export", "train"),
        ("simulate", "train"),
        ("evaluate", "simulate"),
        ("report", "evaluate"),
    ],
)
def test_what_is_owed_is_said_with_its_command(
    command: str, first: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, str(file), "--set", "seed=8"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"; run first: cbt-ray {first} {file} --set seed=8")


def test_counts_of_what_is_owed_agree(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(file)]) == 1
    assert "dataset still owes 1 unit, first " in capsys.readouterr().err
    assert run(["export", str(file)]) == 1
    assert "adapter still owes 1 unit, first first-tuned" in capsys.readouterr().err
    assert run(["dataset", str(file)]) == 1
    assert "courses still owes 6 units, first " in capsys.readouterr().err


def test_a_fetch_of_nothing_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fetch", str(file)]) == 0
    assert capsys.readouterr().out == "fetch: nothing to fetch: no weights are owed\n"
