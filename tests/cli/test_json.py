"""--json: what plan, status and check say as one object, for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from tests.study.example import example_study, write_study


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_study(tmp_path, example_study())


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run([*arguments, "--json"]) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out)


def test_plan(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "plan", str(file), "--nodes", "1", "--nodes", "4")
    assert run(["plan", str(file)]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {row[0]: row for row in table if row and row[0] in found["stages"]}
    assert {stage: f"{one['calls']:.0f}" for stage, one in found["stages"].items()} == {
        stage: row[1] for stage, row in rows.items()
    }
    assert [(one["number"], set(one["stages"])) for one in found["nodes"]] == [
        (1, set(rows)),
        (4, set(rows)),
    ]


def test_status(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = said(capsys, "status", str(file))
    assert {one["done"] for one in before["stages"].values()} == {0}
    assert before["spent"] == {}
    assert before["owed"] == ["never made: " + before["owed"][0].partition(": ")[2]]
    assert run(["study", str(file), "--inline"]) in (0, 2)
    capsys.readouterr()
    after = said(capsys, "status", str(file))
    assert after["stages"]["sessions"]["done"] == 2
    assert after["stages"]["sessions"]["owed"] == 0
    assert after["spent"]["sessions"]["calls"] > 0


def test_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "check", str(file))["problems"] == []
    wrong = said(capsys, "check", str(file), "--set", "seed=x", code=2)
    (problem,) = wrong["problems"]
    assert problem.endswith("seed: expected a whole number, found 'x'")
