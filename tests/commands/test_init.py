"""A study of one's own, as `cbt-ray init` writes it: it runs as it is, without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.store.folder import FolderStore
from cbt_ray.unit import Stage
from cbt_ray.work.usage import Costs

pytestmark = pytest.mark.slow


def test_from_nothing_to_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my-study"
    assert outcome(["init", str(folder)]) == (0, "")
    assert f"cbt-ray study {folder / 'study.yaml'}" in capsys.readouterr().out
    assert outcome(["check", str(folder / "study.yaml")]) == (0, "")
    assert outcome(["study", str(folder / "study.yaml"), "--inline"]) == (0, "")

    store = FolderStore(folder / "runs")
    made = {path.split("/")[1] for path in store.list("my-study/")} & set(Stage)
    trained = {Stage.PROFILES, Stage.COURSES, Stage.DATASET, Stage.FINETUNE}
    assert not made & trained, "nobody is trained, so nothing is generated"
    assert Costs(store, "my-study").total.calls > 0
    assert outcome(["export", str(folder / "study.yaml"), "--to", str(tmp_path / "out")]) == (0, "")
    analysis = json.loads((tmp_path / "out" / "analysis.json").read_text())
    (answer,) = analysis["contrasts"]["primary"]["rows"]
    assert answer["low"] < answer["estimate"] < answer["high"]
    assert [item["item"] for item in analysis["items"]] == [
        "heard",
        "shared_goal",
        "own_steps",
        "respect",
    ]


@pytest.mark.parametrize("name", ["My_Study", "x" * 40, "räume"])
def test_a_name_that_is_none_for_a_study_is_refused(tmp_path: Path, name: str) -> None:
    code, message = outcome(["init", str(tmp_path / name)])
    assert code == 2
    assert message.startswith("cbt-ray: NAME: expected ")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    code, message = outcome(["init", str(tmp_path / "mine")])
    assert (code, "expected a new folder" in message) == (2, True)
    assert not list((tmp_path / "mine").iterdir())
