"""An import as large as the published one: seconds, and with the analysis and the report of its 600
sessions ten in all.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.calls import A_SECOND, calls_of_command
from tests.published.cbt.clone import write_clone

pytestmark = pytest.mark.slow

GROUPS = [
    f"{model}_{method}_Simulation"
    for model in ("Llama", "Mistral", "Qwen")
    for method in ("Finetune", "Instruct")
]
PATIENTS = [f"Person {name}" for name in ("One", "Two", "Three", "Four", "Five")]
LIMIT_S = 3.5
"""Seconds of a laptop of today that Python takes to convert and import 58 sets and 600 sessions; a
disk takes as many."""
REPORTED_S = 12.0
"""The same for 600 sessions and their ratings, imported, analysed and reported."""


def lengthened(clone: Path) -> None:
    """Words as many as in the published files: 15 to 20 kB each."""
    filler = (
        "and then we looked at it once more, from the other side, as we had said we would. " * 12
    )
    for file in clone.rglob("session_*.txt"):
        file.write_text(file.read_text().replace("was grey", f"was grey {filler * 5}"))
    for file in clone.rglob("session_*.json"):
        if "part" not in file.name:
            text = json.loads(file.read_text())["transcript"].replace(
                "Always?", f"Always? {filler * 14}"
            )
            file.write_text(
                json.dumps({"transcript": text, "word_count": len(text.split())}, indent=2)
            )


def test_the_whole_comes_within_seconds_and_again_writes_nothing(tmp_path: Path) -> None:
    lengthened(
        write_clone(tmp_path / "clone", sets=58, sessions=20, groups=GROUPS, patients=PATIENTS)
    )
    command = ["import", "cbt", "clone", "pub.yaml"]
    assert calls_of_command(command, tmp_path) < LIMIT_S * A_SECOND
    units = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "pub").glob("*/*/*")}
    assert len(units) == 58 + 58 * 20 + 600 + 600
    assert calls_of_command(command, tmp_path) < LIMIT_S * A_SECOND
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "pub").glob("*/*/*")
    } == units


def test_import_analysis_and_report_of_600_sessions(tmp_path: Path) -> None:
    lengthened(
        write_clone(tmp_path / "clone", sets=0, sessions=20, groups=GROUPS, patients=PATIENTS)
    )
    commands = (
        ["import", "cbt", "clone", "pub.yaml"],
        ["evaluate", "pub.yaml"],
        ["report", "pub.yaml"],
    )
    assert sum(calls_of_command(command, tmp_path) for command in commands) < REPORTED_S * A_SECOND
    page = tmp_path / "runs" / "pub" / "report.html"
    analysis = json.loads((tmp_path / "runs" / "pub" / "tables" / "analysis.json").read_text())
    assert (analysis["counts"]["scheduled"], analysis["counts"]["rated"]) == (600, 600)
    assert page.stat().st_size < 5_000_000
