"""`cbt-ray analyze`: what it writes, and that bad input is one line and exit code 2 with nothing
written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cbt_ray.__main__ import run
from cbt_ray.analysis.table import mapping as mapping_file
from tests.analysis.table.big_table import write_big
from tests.analysis.tables import made_up
from tests.needs import needs

pytestmark = pytest.mark.slow


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up table in the shape of the published one; commands run beside it."""
    monkeypatch.chdir(tmp_path)
    write_big(tmp_path / "scores.csv", patients=3)
    return tmp_path / "scores.csv"


def changed(scores: Path, old: str, new: str) -> None:
    text = scores.read_text()
    assert old in text
    scores.write_text(text.replace(old, new, 1))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line on stderr of a command that ends with 2 and writes nothing."""
    before = set(Path.cwd().iterdir())
    capsys.readouterr()
    assert run(["analyze", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert set(Path.cwd().iterdir()) == before
    return lines[0]


def test_it_writes_analysis_and_tables(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "scores.csv", "--mapping", "cbt", "--to", "out", "--no-report"]) == 0
    assert "360 ratings, 11 items, 0 scheduled sessions without a rating" in capsys.readouterr().out
    result = json.loads(Path("out/analysis.json").read_text())
    assert result["schema_version"] == 4
    assert result["judge"] == "gemini-1.5-pro-002"
    assert [arm["arm"] for arm in result["arms"]][:3] == [
        "Llama-tuned",
        "Llama-instruct",
        "Mistral-tuned",
    ]
    assert result["counts"]["scheduled"] == 360
    assert result["table"]["rows"] == 360
    assert result["table"]["mapping"]["mapping"] == "cbt"
    assert result["declared"]["post_hoc"] == ["everything"]
    assert (result["detectors"], result["robustness"]["verdict"]) == ([], "not_probed")
    assert result["table"]["without"]["detectors"] == "a table of ratings holds no transcripts"
    arms = pd.read_csv("out/tables/arms.csv")
    assert list(arms["total.mean"]) == pytest.approx(
        [row["total"]["mean"] for row in result["scores"]]
    )
    assert len(pd.read_csv("out/tables/items.csv")) == 6 * 11
    assert len(pd.read_csv("out/tables/claims.csv")) == len(result["claims"]["rows"])
    assert not Path("out/report.html").exists()


def test_a_table_of_yes_and_no_is_compared_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = {"tuned": "1111111100", "plain": "0000000000"}
    lines = [f"{arm},p{n},{one}" for arm, said in answers.items() for n, one in enumerate(said)]
    Path("safe.csv").write_text("\n".join(["arm,patient,safe", *lines, ""]))
    Path("mine.yaml").write_text(
        "{mapping: mine, columns: {arm: arm, patient: patient}, total: safe, outcome: flag, "
        "contrasts: [{name: it, plus: {arm: tuned}, minus: {arm: plain}}]}"
    )
    assert run(["analyze", "safe.csv", "--mapping", "mine.yaml", "--to", "out"]) == 0
    result = json.loads(Path("out/analysis.json").read_text())
    (row,) = result["contrasts"]["primary"]["rows"]
    assert row["p"] == pytest.approx(2 * 0.5**8)
    assert row["estimate"] == pytest.approx(0.8)
    assert 0 < row["low"] < 0.8 < row["high"] < 1
    arms = {arm["arm"]: arm["estimate"] for arm in result["outcomes"][0]["arms"]}
    assert (arms["plain"]["low"], arms["plain"]["high"]) == (0, pytest.approx(0.3085, abs=1e-4))
    assert "0.800 more of the sessions with tuned" in Path("out/report.html").read_text()


def test_its_own_table_of_scores_gives_the_same_analysis(scores: Path) -> None:
    assert run(["analyze", "scores.csv", "--mapping", "cbt", "--to", "one", "--no-report"]) == 0
    assert (
        run(
            [
                "analyze",
                "one/tables/scores.csv",
                "--to",
                "two",
                "--no-report",
                "--set",
                "judge=gemini-1.5-pro-002",
            ]
        )
        == 0
    )
    one, two = (json.loads(Path(name, "analysis.json").read_text()) for name in ("one", "two"))
    assert one["contrasts"]["primary"]["rows"] == two["contrasts"]["primary"]["rows"]
    assert two["claims"]["rows"] == []
    assert "names no claims" in two["claims"]["reason"]


def write_own(folder: Path, **table: Any) -> None:
    """A small table as the report writes it."""
    from cbt_ray.stages.tables import csv_of, scores_of

    (folder / "own.csv").write_bytes(csv_of(scores_of(made_up(sessions=2, **table))))


def test_a_table_that_the_report_wrote_needs_no_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own(tmp_path)
    assert run(["analyze", "own.csv", "--no-report"]) == 0
    result = json.loads(Path("own-analysis/analysis.json").read_text())
    assert (result["counts"]["scheduled"], result["counts"]["rated"]) == (8, 8)
    assert [row["flags"] for row in result["flags"]] == [{"early_end": 2}] * 2


def test_fields_of_the_analysis_block_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one patient, so that there is no model to refit a thousand times."""
    monkeypatch.chdir(tmp_path)
    write_own(tmp_path, patients=("ada",))
    changes = ["--set", "level=0.8", "--set", "thorough=true"]
    assert run(["analyze", "own.csv", "--to", "out", "--no-report", *changes]) == 0
    result = json.loads(Path("out/analysis.json").read_text())
    assert (result["settings"]["level"], result["settings"]["thorough"]) == (0.8, True)
    assert result["refitted"]["reason"]


def test_the_same_table_gives_the_same_bytes(scores: Path) -> None:
    for folder in ("one", "two"):
        assert (
            run(["analyze", "scores.csv", "--mapping", "cbt", "--to", folder, "--no-report"]) == 0
        )
    assert Path("one/analysis.json").read_bytes() == Path("two/analysis.json").read_bytes()


def test_the_report_is_one_page(scores: Path) -> None:
    assert run(["analyze", "scores.csv", "--mapping", "cbt", "--to", "out"]) == 0
    page = Path("out/report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "gemini-1.5-pro-002" in page


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.csv"], "none.csv: expected a file, there is none"),
        (
            ["scores.csv"],
            "scores.csv: expected columns that begin with 'item_' (item_prefix of the mapping "
            "cbt-ray), there are none",
        ),
        (
            ["scores.csv", "--mapping", "cpt"],
            "--mapping cpt: expected act, cbt, cbt-ray or a YAML file, there is none",
        ),
        (
            ["scores.csv", "--mapping", "act"],
            "column 'session_id' is missing, which columns.patient of the mapping act names",
        ),
        (
            ["scores.csv", "--mapping", "cbt", "--set", "levle=0.9"],
            "--set levle: unknown field, expected level",
        ),
        (
            ["scores.csv", "--mapping", "cbt", "--set", "level=9"],
            "--set level: expected less than 1",
        ),
        (["scores.csv", "--mapping", "cbt", "--set", "level"], "--set level: expected FIELD=VALUE"),
        (
            ["scores.csv", "--mapping", "cbt", "--set", "judge=eve"],
            "--set judge: expected one of gemini-1.5-pro-002, found 'eve'",
        ),
        (
            ["scores.csv", "--mapping", "cbt", "--to", "scores.csv"],
            "--to: expected a folder that can be written, scores.csv is none",
        ),
    ],
)
def test_bad_arguments(
    scores: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert line in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "Agenda",
            "Agendum",
            "column 'Agenda' is missing, which items.agenda of the mapping cbt names",
        ),
        (
            "\n1_made_up,patient 0,Llama_Finetune_made_up,",
            "\n1_made_up,patient 0,Llama_Finetune_made_up,good",
            "line 2, column Agenda: expected a",
        ),
        (
            "\n1_made_up,patient 0,Llama_Finetune_made_up,",
            "\n1_made_up,patient 0,Llama_Finetune_made_up,1",
            "line 2, column Agenda: expected a",
        ),
        (
            "\n2_made_up,patient 0",
            "\n1_made_up,patient 0",
            "line 3: expected each rating once, session 'Llama-tuned/patient 0/1/1'",
        ),
        (
            "\n2_made_up",
            "\n21_made_up",
            "scheduled.sessions: expected no session beyond 20, the table has session 21",
        ),
        ("Llama_Finetune", "Llama_Finetuned", "line 2, column group: expected "),
        (
            "patient 0",
            "",
            "line 2, column patient_id: expected a value for patient, found an empty cell",
        ),
    ],
)
def test_bad_tables(
    scores: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, line: str
) -> None:
    changed(scores, old, new)
    assert line in refused(capsys, "scores.csv", "--mapping", "cbt")


def test_empty_tables(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = scores.read_text().splitlines()[0]
    scores.write_text(header + "\n")
    assert "expected at least one row under the names of the columns" in refused(
        capsys, "scores.csv", "--mapping", "cbt"
    )
    scores.write_text("")
    assert "the file is empty" in refused(capsys, "scores.csv", "--mapping", "cbt")


def test_the_act_table_holds_repeated_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "act_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    monkeypatch.chdir(tmp_path)
    assert run(["analyze", str(path), "--mapping", "act", "--to", "out"]) == 0
    result = json.loads(Path("out/analysis.json").read_text())
    found = {
        row["measure"]: f"{row['omnibus']['chi2']:.2f}" for row in result["repeated"]["measures"]
    }
    assert (found["act_fm_total_consistency"], found["tes_total_empathy_mean"]) == (
        "185.15",
        "140.37",
    )
    assert result["repeated"]["conditions"] == [arm["arm"] for arm in result["arms"]]
    assert result["models"]["published"]["status"] == "not_fitted"
    assert "one session number only" in result["models"]["published"]["reason"]
    assert {row["label"] for row in result["contrasts"]["primary"]["rows"]} == {
        "instruct",
        "sft",
        "orpo",
    }
    pairs = pd.read_csv("out/tables/repeated_pairs.csv")
    assert len(pairs) == 3 * 15
    assert pairs["wins.rate"].between(0, 1).all()


def test_contrasts_that_the_table_does_not_answer_are_refused(
    scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(mapping_file.__file__).parent / "mappings" / "cbt.yaml").read_text()
    asked = "contrasts: [{name: prompt, plus: {variant: tuned}, minus: {variant: long}}]\n"
    Path("own.yaml").write_text(text.replace("mapping: cbt\n", "mapping: own\n") + asked)
    assert run(["analyze", "scores.csv", "--mapping", "own.yaml", "--to", "out"]) == 2
    said = capsys.readouterr().err
    assert "the mapping own: contrasts.0.minus.variant: expected one of" in said
    assert "found 'long'" in said
    assert not Path("out").exists()
