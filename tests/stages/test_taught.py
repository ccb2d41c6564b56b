"""A judge that learns from ratings: what it learns from, what it never rates, and whether it
agrees with people on patients that it never saw.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import outcome, run
from cbt_ray.study import load_study
from cbt_ray.study.lesson import patient_of, split_of
from cbt_ray.unit import Stage
from tests.stages import scripted
from tests.stages.taught import write_rated, write_reading, write_unheld

pytestmark = [pytest.mark.train, pytest.mark.llama]
PATIENTS = 200
RECIPE = {
    **{"max_steps": 240, "epochs": 100, "batch": 8, "learning_rate": 2e-3, "schedule": "linear"},
    **{"load_4bit": False, "optimizer": "adamw_torch", "checkpoint_steps": 240},
    "lora": {"r": 32, "alpha": 64},
}


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reading(tmp_path_factory.mktemp("reading"))


def evaluated(folder: Path, reading: Path, *, shuffled: bool) -> tuple[Path, dict[str, Any]]:
    """The study's file, and each rater's agreement with people on held-out patients."""
    file = write_rated(folder, reading, PATIENTS, RECIPE, shuffled=shuffled)
    assert run(["evaluate", str(file), "--inline"]) == 0
    assert run(["report", str(file)]) == 0
    assert run(["data", str(file), "--to", str(folder / "out")]) == 0
    analysis = json.loads((folder / "out" / "analysis.json").read_text())
    return file, {row["rater"]: row for row in analysis["reliability"]["learned"]}


def test_a_judge_learns_a_rule_from_ratings_and_from_shuffled_ones_nothing(
    tmp_path: Path, reading: Path
) -> None:
    for name in ("rule", "shuffled"):
        (tmp_path / name).mkdir()
    file, found = evaluated(tmp_path / "rule", reading, shuffled=False)
    split = split_of(load_study(file), "reader")
    assert (len(split.train), len(split.held_out)) == (120, 80)
    assert {(row["learned_from"], row["held_out"]) for row in found.values()} == {(120, 80)}

    before, after = (found[name]["people"]["icc2_1"] for name in ("as-it-was", "learned"))
    assert after["low"] > 0.5
    assert before["high"] < after["low"]
    assert found["learned"]["gain"]["low"] > 0

    ratings = scripted.units(file.parent / "runs", Stage.RATINGS, "study")
    of_learned = [key.split("/")[2] for key in ratings if ".learned." in key]
    assert {patient_of(rating) for rating in of_learned} == split.held_out
    assert len(of_learned) == 80
    assert "Judges that learned from people" in next(file.parent.rglob("report.html")).read_text()

    _, shuffled = evaluated(tmp_path / "shuffled", reading, shuffled=True)
    assert shuffled["learned"]["people"]["icc2_1"]["high"] < after["low"]
    assert shuffled["learned"]["gain"]["low"] < 0


def test_a_study_waits_for_people_goes_on_with_their_ratings_and_is_done_once(
    tmp_path: Path, reading: Path
) -> None:
    file = write_unheld(tmp_path, reading, RECIPE | {"max_steps": 4, "learning_rate": 1e-4})
    code, said = outcome(["study", str(file), "--inline"])
    assert (code, "raters.people: people have rated 0 of 12 sessions; bring" in said) == (2, True)

    rows = [
        f"one,P{n:03d} Novak,1,{1 + (n + rater) % 2},{rater}" for n in range(4) for rater in (1, 2)
    ]
    table = tmp_path / "ratings.csv"
    table.write_text("\n".join(["arm,patient,session,thoughts,judge_replicate", *rows]))
    assert run(["import", "ratings", str(table), str(file), "--judge", "people"]) == 0
    assert run(["study", str(file), "--inline"]) == 0
    (examples,) = scripted.units(tmp_path / "store", Stage.DATASET).values()
    assert examples.content["counts"] == {"train": 4, "held_out": 4, "test": 0}
    ratings = [key.split("/")[2] for key in scripted.units(tmp_path / "store", Stage.RATINGS)]
    assert sum(".learned." in one for one in ratings) == 2 * (6 - 2)
    assert sum(".as-it-was." in one for one in ratings) == 2 * 6

    made = scripted.units(tmp_path / "store")
    assert run(["study", str(file), "--inline"]) == 0
    assert scripted.units(tmp_path / "store") == made
    judge = tmp_path / "judge.gguf"
    assert run(["weights", str(file), "--arm", "learned", "--to", str(judge)]) == 0
    assert judge.read_bytes().startswith(b"GGUF")
