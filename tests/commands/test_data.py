"""`data`: it tells patients apart by their ids, keeps what is the user's, and writes no
formulas.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.commands.data import write_data
from cbt_ray.errors import Infrastructure
from cbt_ray.reading.table import read_table
from cbt_ray.stages.dataset import make_dataset
from cbt_ray.stages.generate import generate
from cbt_ray.study import load_study
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.published.cbt.clone import write_clone
from tests.study.example import RECIPE, example_study, write_study


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A published study, of which two training patients have one name."""
    monkeypatch.chdir(tmp_path)
    write_clone(tmp_path / "clone")
    for file in (tmp_path / "clone").rglob("patient_profile.json"):
        file.write_text(
            json.dumps(
                {
                    **json.loads(file.read_text()),
                    "profile": "Patient Profile: Ruth Moss\nShe sleeps badly.",
                }
            )
        )
    assert outcome(["import", "cbt", "clone", "pub.yaml"]) == (0, "")
    return Path("pub.yaml")


def test_patients_of_one_name_are_told_apart(study: Path) -> None:
    assert outcome(["data", str(study), "--to", "out"]) == (0, "")
    courses = read_table(Path("out/courses.csv"), own=True).columns
    assert set(courses["patient"]) == {"Ruth Moss"}
    assert len(set(courses["patient_id"])) == 2
    lines = [json.loads(line) for line in Path("out/courses.jsonl").read_text().splitlines()]
    assert {line["patient_id"] for line in lines} == {"p01", "p02"} == set(courses["patient_id"])
    sessions = read_table(Path("out/sessions.csv"), own=True).columns
    ratings = read_table(Path("out/ratings.csv"), own=True).columns
    assert set(ratings["patient_id"]) <= set(sessions["patient_id"]) == {"ada-lovell", "ben-okri"}


def test_what_the_user_has_in_the_folder_stays(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"out/analysis.R": "r", "out/scores.xlsx": "x", "out/dataset/my_own.csv": "c"}
    for name in own:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(own[name])
    for _ in range(2):
        assert outcome(["data", str(study), "--to", "out"]) == (0, "")
    assert {name: Path(name).read_text() for name in own} == own
    Path("out/ratings.csv").write_text("mine")
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    code, message = outcome(["data", str(study), "--to", "out"])
    assert (code, "out/ratings.csv was changed since cbt-ray wrote it" in message) == (2, True)
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


def test_a_formula_in_a_justification_is_text(study: Path) -> None:
    said = '=HYPERLINK("http://example.org","see")'
    cell = json.dumps({"agenda": said}).replace('"', '""')
    Path("t.csv").write_text(
        f'arm,patient,session,agenda,justifications\nllama-tuned,Ada Lovell,1,4,"{cell}"\n'
    )
    assert outcome(["import", "ratings", "t.csv", str(study), "--judge", "ana"]) == (0, "")
    assert outcome(["data", str(study), "--to", "out"]) == (0, "")
    plain = read_table(Path("out/ratings.csv")).columns["justification"]
    assert f"'{said}" in plain
    assert said not in plain
    assert said in read_table(Path("out/ratings.csv"), own=True).columns["justification"]


def test_a_harmed_file_of_a_dataset_is_that_of_its_form(tmp_path: Path) -> None:
    """The dataset that names it is owed again, and no other."""
    model = {"recipe": RECIPE | {"compare": RECIPE["start"]}}
    parts = [
        {"name": "thinking", "label": "Thinking:"},
        {"name": "answer", "label": "Answer:", "shown": True},
    ]
    document = example_study(
        models={"bare": model, "formed": model | {"form": "reasoned"}},
        arms=[{"name": name, "model": name, "tuned": True} for name in ("bare", "formed")],
        forms={"reasoned": {"parts": parts}},
        courses__write="turns",
        courses__form="reasoned",
        dataset__format="turn",
        imported=...,
    )
    bench = Bench(load_study(write_study(tmp_path, document)), Silent(), inline=True)
    generate(bench)
    make_dataset(bench)
    bare, formed = (bench.keys.datasets()[name] for name in (None, "reasoned"))
    unit = bench.store.get(formed)
    assert unit is not None
    path = unit.content["files"]["train.jsonl"]["path"]
    bench.store.replace(path, b"harmed")
    with pytest.raises(Infrastructure):
        write_data(bench, tmp_path / "out", lambda _: None)
    assert bench.store.get(formed) is None
    assert bench.store.get(bare) is not None


def test_a_dataset_is_loaded_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `datasets`, as a folder and file by file; the test split has nobody in it."""
    from datasets import load_dataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = {"recipe": RECIPE | {"compare": RECIPE["start"]}}
    document = example_study(
        models={"bare": model},
        arms=[{"name": "bare", "model": "bare", "tuned": True}],
        imported=...,
    )
    bench = Bench(load_study(write_study(tmp_path, document)), Silent(), inline=True)
    generate(bench)
    make_dataset(bench)
    write_data(bench, tmp_path / "out", lambda _: None)
    folder, cache = tmp_path / "out" / "dataset", str(tmp_path / "cache")
    splits = {file.stem: str(file) for file in folder.glob("*.jsonl")}
    assert set(splits) == {"train", "held_out"}
    read = json.loads((folder / "dataset.json").read_text())["counts"]
    for found in (
        load_dataset(str(folder), cache_dir=cache),
        load_dataset("json", data_files=splits, cache_dir=cache),
    ):
        assert {name: len(part) for name, part in found.items()} | {"test": 0} == read
        assert found["train"][0]["messages"][0]["role"] == "system"
    for file in (tmp_path / "out").glob("*.jsonl"):
        assert load_dataset("json", data_files=str(file), cache_dir=cache)["train"].num_rows
