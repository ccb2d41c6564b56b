"""docs/python.md is run as it stands, on a study that was rehearsed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import cbt_ray
from cbt_ray.__main__ import run
from cbt_ray.errors import InputError
from cbt_ray.study import load_study
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python") / "mine"
    assert run(["init", str(folder)]) == 0
    assert run(["study", str(folder / "study.yaml"), "--inline"]) == 0
    return folder


def test_the_page_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    known: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, known)  # noqa: S102  the project's own page
    answer, late = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"-?\d+\.\d \[-?\d+\.\d, -?\d+\.\d\]", answer)
    assert float(late) == pytest.approx(known["late"].contrasts.primary.rows[0].estimate)
    assert set(known["means"].index) == {"advising", "asking"}
    assert known["answer"].estimate == pytest.approx(
        known["means"]["asking"] - known["means"]["advising"]
    )


def test_every_frame_of_the_page_holds_what_the_store_has(folder: Path) -> None:
    study = cbt_ray.open(folder / "study.yaml")
    bench = Bench(load_study(folder / "study.yaml"), Silent())
    frames = re.findall(r"^\| `study\.(\w+)` \|", PAGE, re.MULTILINE)
    assert {name: len(getattr(study, name)) > 0 for name in frames} == dict.fromkeys(frames, True)
    assert len(study.sessions) == len(bench.keys.sessions())
    assert study.sessions["messages"].sum() == len(study.turns)
    assert study.ratings["key"].nunique() == len(bench.keys.ratings())
    assert len(study.scores) == len(bench.keys.ratings())


def test_a_study_that_nothing_was_made_of_is_empty(folder: Path, tmp_path: Path) -> None:
    study = cbt_ray.open(folder / "study.yaml", {"store": str(tmp_path / "none")})
    assert study.analysis is None
    assert all(getattr(study, name).empty for name in ("sessions", "turns", "ratings", "scores"))
    assert not (tmp_path / "none").exists(), "nothing is made"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml"):
        cbt_ray.open(tmp_path / "gone.yaml")
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        cbt_ray.close()
