"""A study of one's own, as `cbt-ray init` writes it: it runs as it is, without training."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.cli import cli
from cbt_ray.shipped import shipped
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import load_study
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
    trained = {Stage.PROFILES, Stage.COURSES, Stage.DATASET, Stage.MODEL}
    assert not made & trained, "nobody is trained, so nothing is generated"
    assert Costs(store, "my-study").total.calls > 0
    assert outcome(["data", str(folder / "study.yaml"), "--to", str(tmp_path / "out")]) == (0, "")
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


STUDIES = sorted(file.stem for file in shipped("studies").glob("*.yaml"))


@pytest.mark.parametrize("example", STUDIES)
def test_an_example_is_copied_with_all_that_it_names(tmp_path: Path, example: str) -> None:
    folder = tmp_path / "mine"
    assert outcome(["init", str(folder), "--example", example]) == (0, "")
    copy, original = (
        load_study(folder / "study.yaml"),
        load_study(shipped("studies") / f"{example}.yaml"),
    )
    assert (copy.study, copy.store) == ("mine", str(folder / "runs"))
    own = {"study", "store", "file"}
    assert copy.model_dump(exclude=own) == original.model_dump(exclude=own)
    text = (folder / "study.yaml").read_text()
    unnamed = {file.name for file in folder.glob("*/*.yaml") if f"/{file.name}" not in text}
    assert not unnamed


def test_an_example_that_there_is_not_is_refused(tmp_path: Path) -> None:
    code, message = outcome(["init", str(tmp_path / "mine"), "--example", "../demo"])
    assert code == 2
    assert message == f"cbt-ray: --example ../demo: expected one of {', '.join(STUDIES)}"
    assert not list(tmp_path.iterdir())


def test_the_help_names_the_examples() -> None:
    (option,) = (one for one in cli.commands["init"].params if one.name == "example")
    assert isinstance(option, click.Option)
    assert all(name in (option.help or "") for name in STUDIES)
