"""Anybody's courses: read, refused line by line, and there for a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import outcome
from cbt_ray.study import load_study
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from cbt_ray.work.survey import State
from tests.study.example import example_study, write_study

TURNS = [
    {"speaker": "patient", "text": "I sleep badly."},
    {"speaker": "therapist", "text": "Since when?"},
]
PROFILE = {"narrative": "Kim bakes and sleeps badly.", "characteristics": {"age_band": "one"}}


def line(patient_id: str, number: int, **more: Any) -> dict[str, Any]:
    own = {"patient_id": patient_id, "patient": "Kim Roe", "number": number, "turns": TURNS}
    return own | {"summary": "Kim spoke of sleep."} | more


WHOLE = [line("p01", 1, profile=PROFILE), line("p01", 2), line("p02", 1), line("p02", 2)]


def write(folder: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    file = folder / "courses.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    return file


def study_in(folder: Path, name: str = "own", **changes: Any) -> Path:
    wanted = f"{name}.imported.json"
    (folder / wanted).write_text("{}")
    return write_study(folder, example_study(imported=wanted, **changes))


def bench_of(study: Path) -> Bench:
    return Bench(load_study(study), Silent(), inline=True)


def test_they_are_there_and_become_a_dataset(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    assert outcome(["import", "courses", str(write(tmp_path, WHOLE)), str(study)]) == (0, "")
    bench = bench_of(study)
    survey = bench.survey(Stage.PROFILES, Stage.COURSES)
    assert survey.counts(Stage.PROFILES) == {State.DONE: 1, State.REJECTED: 1}
    assert survey.reasons(Stage.PROFILES) == {"absent": 1}
    assert survey.counts(Stage.COURSES) == {State.DONE: 4}
    assert outcome(["dataset", str(study)]) == (0, "")
    dataset = bench.store.get(bench.keys.dataset())
    assert dataset is not None


def test_a_second_file_adds_to_the_first(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    for lines in (WHOLE[:2], WHOLE[2:]):
        assert outcome(["import", "courses", str(write(tmp_path, lines)), str(study)]) == (0, "")
    counts = bench_of(study).survey(Stage.COURSES).counts(Stage.COURSES)
    assert counts == {State.DONE: 4}


def test_what_export_writes_of_made_courses_is_imported(tmp_path: Path) -> None:
    made = study_in(tmp_path)
    (tmp_path / "own.imported.json").write_text(json.dumps({"profiles": {"p99": "0" * 16}}))
    assert outcome(["generate", str(made), "--inline"]) == (0, "")
    assert outcome(["data", str(made), "--to", str(tmp_path / "out")]) == (0, "")
    exported = [
        json.loads(one) for one in (tmp_path / "out" / "courses.jsonl").read_text().splitlines()
    ]
    assert [one["patient_id"] for one in exported if "profile" in one] == ["p01", "p02"]
    (tmp_path / "again").mkdir()
    again = study_in(tmp_path / "again")
    file = str(tmp_path / "out" / "courses.jsonl")
    assert outcome(["import", "courses", file, str(again)]) == (0, "")
    first, other = bench_of(made), bench_of(again)
    for ours, theirs in zip(first.keys.courses(), other.keys.courses(), strict=True):
        unit, same = first.store.get(ours), other.store.get(theirs)
        assert unit is not None
        assert same is not None
        assert same.content["turns"] == unit.content["turns"]
    profile, held = (
        bench.store.get(next(iter(bench.keys.course_chains()))) for bench in (first, other)
    )
    assert profile is not None
    assert held is not None
    assert held.content["characteristics"] == profile.content["characteristics"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line("P1", 1)], "patient_id"),
        ([line("p01", 1), line("p01", 1)], "expected each session once, line 1 is the same"),
        ([line("p01", 1, profile={"characteristics": {}})], "profile.narrative"),
        ([line("p01", 1, arm="a")], "arm: unknown field"),
        ([line("p03", 1)], "patients.training.count: expected at least 3, it is 2"),
        ([line("p01", 3)], "courses.sessions: expected at least 3, it is 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    lines: list[dict[str, Any]], expected: str, tmp_path: Path
) -> None:
    study = study_in(tmp_path)
    code, message = outcome(["import", "courses", str(write(tmp_path, lines)), str(study)])
    assert (code, expected in message) == (2, True), message
    assert not (tmp_path / "runs").exists()


def test_a_study_file_is_needed(tmp_path: Path) -> None:
    none = tmp_path / "none.yaml"
    code, message = outcome(["import", "courses", str(write(tmp_path, WHOLE)), str(none)])
    assert (code, f"{none}: expected a study file" in message) == (2, True)
