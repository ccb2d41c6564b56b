"""Two prompts of one model, compared from `check` to the report: nothing is generated, nothing
trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import run
from cbt_ray.prompts import HOME
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.keys import Keys
from cbt_ray.work.usage import Costs
from cbt_ray.work.workshop import prompts_of

pytestmark = pytest.mark.slow

DOCUMENT: dict[str, Any] = {
    "study": "prompts",
    "seed": 3,
    "store": "runs",
    "prompts": "own",
    "patients": {
        "simulated": [
            {"name": name, "profile": "A patient who sleeps badly and has given up what was dear."}
            for name in ("Teresa Lindqvist", "Jonas Adeyemi", "Mara Ilić")
        ]
    },
    "arms": [{"name": "plain"}, {"name": "socratic", "prompt": "socratic.j2"}],
    "endpoints": {"script": {"kind": "scripted"}},
    "roles": {role: {"endpoint": "script"} for role in ("patient", "summariser", "therapist")},
    "raters": {"judge": {"endpoint": "script"}},
    "sessions": {"count": 2, "max_messages": 6, "min_therapist_turns": 1},
}
NEEDLESS = (Stage.PROFILES, Stage.COURSES, Stage.DATASET, Stage.ADAPTER, Stage.MODEL)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The file of a study of two prompts."""
    (tmp_path / "own").mkdir()
    told = (HOME / "en" / "therapist.j2").read_text() + "\nAsk one open question in each turn.\n"
    (tmp_path / "own" / "socratic.j2").write_text(told)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT, sort_keys=False))
    return file


def test_two_prompts_are_compared_without_a_course_and_a_training(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(study)]) == 0
    assert "roles: patient, summariser, therapist, judge\n" in capsys.readouterr().out
    assert run(["plan", str(study)]) == 0
    planned = capsys.readouterr().out
    assert run(["study", str(study), "--inline"]) == 0
    assert run(["status", str(study)]) == 0
    shown = capsys.readouterr().out
    for stage in NEEDLESS:
        assert f"\n{stage} " not in f"\n{planned}"
        assert f"\n{stage} " not in shown
    store = FolderStore(study.parent / "runs")
    costs = Costs(store, "prompts")
    assert {stage for stage, used in costs.usage.items() if used.calls} == {
        Stage.SESSIONS,
        Stage.RATINGS,
    }
    keys = Keys(load_study(study), prompts_of(load_study(study)))
    analysis = Unit.from_bytes(store.read(str(keys.analysis())) or b"")
    rows = analysis.content["rows"]
    assert len(rows) == 2 * 3 * 2
    assert all(row["rated"] and row["seed"] == 0 for row in rows)
    assert {(row["arm"], row["factors"]["prompt"]) for row in rows} == {
        ("plain", "therapist"),
        ("socratic", "socratic"),
    }
    assert analysis.content["analysis"]["confounds"] == []
    page = (study.parent / "runs" / "prompts" / "report.html").read_text()
    assert "socratic" in page
    assert "in the all phase" not in page, "a study without phases speaks of none"


def test_another_temperature_beside_the_prompt_is_said_in_plan_and_report(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the contrast named, since it is not clear which of the two is asked for."""
    document = yaml.safe_load(study.read_text())
    document["arms"][1]["sampling"] = {"temperature": 0.1}
    asked = {
        "name": "style",
        "plus": {"prompt": "socratic"},
        "minus": {"prompt": "therapist"},
    }
    study.write_text(yaml.safe_dump(document | {"analysis": {"contrasts": [asked]}}))
    said = "style: socratic and plain also differ in temperature (0.1; 0.7)"
    assert run(["plan", str(study)]) == 0
    assert f"confounded: {said}" in capsys.readouterr().out
    plan = tmp_path / "plan.md"
    assert run(["preregister", str(study), "--to", str(plan)]) == 0
    assert "socratic and plain also differ in temperature (0.1; 0.7)" in plan.read_text()
    assert run(["study", str(study), "--inline"]) == 0
    page = (study.parent / "runs" / "prompts" / "report.html").read_text()
    assert f"Confounded: {said}" in page.replace("&#39;", "'")
    folder = tmp_path / "exported"
    assert run(["data", str(study), "--to", str(folder)]) == 0
    (found,) = json.loads((folder / "analysis.json").read_text())["confounds"]
    assert (found["what"], found["values"]) == ("temperature", ["0.1", "0.7"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["generate", "--inline"], "generate: no arm needs courses, since none is tuned on them"),
        (["dataset"], "dataset: no arm needs one, since none is tuned on courses"),
        (["train"], "train: nothing to train: no arm needs a model to be tuned"),
        (["export"], "export: no arm needs a model to be made: none is tuned"),
    ],
)
def test_a_stage_that_no_arm_needs_says_so_and_makes_nothing(
    command: list[str], said: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = command
    assert run([name, str(study), *rest]) == 0
    heard = capsys.readouterr()
    assert said in heard.out + heard.err
    assert [*FolderStore(study.parent / "runs").list("prompts/")] == []
