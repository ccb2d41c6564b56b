"""Several judges, each with scales of its own: what the units, the scores and the export hold."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.llm import models
from cbt_ray.llm.request import Finish, Reply, Request
from cbt_ray.study.endpoint import ScriptedEndpoint
from cbt_ray.unit import Stage
from tests.stages import scripted

pytestmark = pytest.mark.slow

SCRIPTED = {"kind": "scripted"}
COUNTS = {"question": 0, "simple_reflection": 3, "complex_reflection": 1}
"""What the first judge counts in every session; it rates all else with the lowest score."""


class Counting:
    """A judge that counts by rule; every other request is answered as the script does."""

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self.model = model
        self.asked: list[Request] = []

    def complete(self, request: Request) -> Reply:
        items = (request.schema or {}).get("properties", {})
        if not any("justification" in item.get("properties", {}) for item in items.values()):
            reply: Reply = self.model.complete(request)
            return reply
        self.asked.append(request)
        answers = {}
        for item, schema in items.items():
            ((field, allowed),) = (
                (name, part)
                for name, part in schema["properties"].items()
                if name != "justification"
            )
            known = COUNTS.get(item.rpartition(".")[2], 2)
            score = known if field == "count" else allowed["enum"][0]
            answers[item] = {"justification": "As in turn 2.", field: score}
        return Reply(json.dumps(answers), Finish.STOP, 1, 1, self.name)


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counting]:
    """Every model that is opened, by its endpoint."""
    opened: dict[str, Counting] = {}
    plain = models.language_model

    def language_model(name: str, endpoint: Any, *more: Any) -> Counting:
        opened[name] = Counting(name, plain(name, ScriptedEndpoint(**SCRIPTED), *more))
        return opened[name]

    monkeypatch.setattr(models, "language_model", language_model)
    return opened


def study_of(folder: Path, raters: dict[str, Any], outcomes: list[str]) -> Path:
    document = scripted.study_document(
        folder / "store",
        endpoints={"script": SCRIPTED, "one": SCRIPTED, "two": SCRIPTED},
        raters=raters,
        analysis={"outcomes": outcomes},
    )
    return scripted.write_study(folder, document)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def test_two_judges_with_scales_of_their_own(tmp_path: Path, judges: dict[str, Counting]) -> None:
    raters = {
        "first": {"endpoint": "one", "scales": ["miti", "ctrs-0-6"], "replicates": 2},
        "second": {"endpoint": "two", "scales": ["miti"]},
    }
    file = study_of(tmp_path, raters, ["technical", "second.percent_complex", "ctrs-0-6.total"])
    assert run(["study", str(file), "--inline"]) == 0
    assert run(["data", str(file), "--to", str(tmp_path / "out")]) == 0

    units = scripted.units(tmp_path / "store", Stage.RATINGS)
    assert len(units) == 8 * (2 + 1)
    assert {key.rsplit(".", 3)[1] for key in units} == {"first", "second"}
    # Apart: a call for each scale, with the scale's own prompt.
    told = [request.messages[0].content for request in judges["one"].asked]
    assert len(told) == 2 * 16
    assert sum("on the Motivational Interviewing" in text for text in told) == 16
    assert sum("on the Cognitive Therapy Rating Scale" in text for text in told) == 16
    assert len(judges["two"].asked) == 8

    measures = rows_of(tmp_path / "out" / "measures.csv")
    lost = [row for row in measures if row["measure"].endswith("reflections_to_questions")]
    assert len(lost) == 24
    assert {(row["value"], row["reason"]) for row in lost} == {("", "division_by_zero")}
    complex_ = [row for row in measures if row["measure"].endswith("percent_complex")]
    assert {row["value"] for row in complex_} == {"25.0"}

    scores = rows_of(tmp_path / "out" / "scores.csv")
    assert {(row["judge"], row["total"], row["measure_miti.technical"]) for row in scores} == {
        ("first", "1.0", "1.0"),
        ("second", "1.0", "1.0"),
    }
    assert {row["measure_ctrs-0-6.total"] for row in scores if row["judge"] == "first"} == {"0"}
    analysis = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert analysis["judges"] == {"first": "model", "second": "model"}
    assert (analysis["judge"], analysis["settings"]["total"]) == ("first", [1.0, 5.0])
    assert [item["item"] for item in analysis["items"]] == [
        "miti.cultivating_change_talk",
        "miti.softening_sustain_talk",
    ]
    page = (tmp_path / "store" / "rehearsal" / "report.html").read_text()
    assert "total 1 to 5" in page


def test_together_is_one_call(tmp_path: Path, judges: dict[str, Counting]) -> None:
    rater = {"endpoint": "one", "scales": ["miti", "ctrs-0-6"], "asked": "together"}
    file = study_of(tmp_path, {"first": rater}, ["ctrs-0-6.total"])
    assert run(["study", str(file), "--inline"]) == 0
    assert len(judges["one"].asked) == 8
    told = judges["one"].asked[0].messages[0].content
    assert "Integrity and the Cognitive Therapy Rating Scale" in told
    assert re.search(r"- miti.empathy \(Empathy\).*\n  Numbers from 1 to 5:\n", told)
    assert re.search(r"- ctrs-0-6.agenda \(Agenda\).*\n  Numbers from 0 to 6:\n", told)
    for unit in scripted.units(tmp_path / "store", Stage.RATINGS).values():
        assert len(unit.content["items"]) == 14 + 11
        assert unit.content["measures"]["ctrs-0-6.total"] == {"value": 0, "reason": None}


def test_a_judge_of_other_scales_has_no_total_and_says_why(
    tmp_path: Path, judges: dict[str, Counting]
) -> None:
    raters = {
        "first": {"endpoint": "one", "scales": ["ctrs-0-6"]},
        "second": {"endpoint": "two", "scales": ["miti"]},
    }
    file = study_of(tmp_path, raters, [])
    assert run(["study", str(file), "--inline"]) == 0
    assert run(["data", str(file), "--to", str(tmp_path / "out")]) == 0
    scores = rows_of(tmp_path / "out" / "scores.csv")
    assert {(row["judge"], row["total"], row["reason"]) for row in scores} == {
        ("first", "0", ""),
        ("second", "", "other_scale"),
    }
    assert judges["two"].asked


def test_the_plan_counts_the_calls_of_every_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raters = {
        "first": {"endpoint": "one", "scales": ["miti", "ctrs-0-6"], "replicates": 2},
        "second": {"endpoint": "two", "scales": ["miti"]},
    }
    assert run(["plan", str(study_of(tmp_path, raters, []))]) == 0
    line = next(one for one in capsys.readouterr().out.splitlines() if one.startswith("ratings"))
    assert line.split()[1] == str(8 * (2 * 2 + 1))
