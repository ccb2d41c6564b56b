"""Pairs in a study: made once, resumed, of the patients that are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.errors import Owed
from cbt_ray.stages.dataset import fetch_dataset, make_dataset
from cbt_ray.stages.generate import generate
from cbt_ray.stages.pairs import make_pairs, write_pairs
from cbt_ray.stages.train import train
from cbt_ray.study import load_study
from cbt_ray.training.dataset import read
from cbt_ray.training.preference import read_preferences
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.study.example import RECIPE, example_study, write_study

ORPO = RECIPE | {"compare": RECIPE["start"], "method": "orpo", "preferences": "made:fair"}
STUDY: dict[str, Any] = {
    "models__smollm2__recipe": ORPO,
    "arms": [
        {"name": "plain", "model": "smollm2"},
        {"name": "tuned", "model": "smollm2", "tuned": True},
    ],
    "pairs": {"fair": {"rejected": {"endpoint": "script"}}},
    "endpoints__script__licence": "Apache-2.0",
    "imported": ...,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_study(tmp_path, example_study(**STUDY))


@pytest.fixture
def bench(file: Path) -> Bench:
    return Bench(load_study(file), Silent(), inline=True)


def test_pairs_are_made_with_the_courses_and_only_once(bench: Bench, file: Path) -> None:
    generate(bench)
    keys = list(bench.keys.pairs().values())
    assert [key.id for key in keys] == [f"fair.p0{n}.s0{s}" for n in (1, 2) for s in (1, 2)]
    before = {key: bench.store.read(str(key)) for key in keys}
    assert None not in before.values()
    calls = sum(unit.provenance["usage"]["calls"] for _, unit in bench.store.get_many(keys) if unit)
    assert calls > 0
    bench.store.set_aside(str(keys[0]))
    again = Bench(load_study(file), Silent(), inline=True)
    make_pairs(again)
    after = {key: again.store.read(str(key)) for key in keys}
    assert [key for key in keys if after[key] != before[key]] in ([], [keys[0]])
    assert after[keys[0]] is not None


def test_a_file_of_them_has_what_training_reads_and_no_held_out_patient(
    bench: Bench, tmp_path: Path
) -> None:
    generate(bench)
    make_dataset(bench)
    fetch_dataset(bench, bench.keys.dataset(), tmp_path / "data")
    splits = read(tmp_path / "data")
    trained = {example["patient"] for example in splits.train}
    assert trained < {"p01", "p02"}
    write_pairs(bench, "fair", trained, tmp_path / "pairs.jsonl")
    pairs = read_preferences(tmp_path / "pairs.jsonl")
    (system,) = {example["messages"][0]["content"] for example in splits.train[:1]}
    assert system in {pair.messages[0].content for pair in pairs}
    said = {m["content"] for example in splits.train for m in example["messages"]}
    assert {pair.messages[-1].content for pair in pairs} <= said
    assert all(pair.chosen != pair.rejected for pair in pairs)
    lines = (tmp_path / "pairs.jsonl").read_text()
    held = {m["content"] for one in splits.held_out for m in one["messages"] if m["role"] == "user"}
    assert all(json.dumps(text, ensure_ascii=False) not in lines for text in held - said)


def test_the_last_answer_ends_as_in_the_dataset(bench: Bench, tmp_path: Path) -> None:
    """Chosen answers are the ones that `sft` would learn, to the letter."""
    generate(bench)
    make_dataset(bench)
    fetch_dataset(bench, bench.keys.dataset(), tmp_path / "data")
    splits = read(tmp_path / "data")
    learned = {
        message["content"]
        for example in (*splits.train, *splits.held_out)
        for message in example["messages"]
        if message["role"] == "assistant"
    }
    write_pairs(bench, "fair", ["p01", "p02"], tmp_path / "pairs.jsonl")
    chosen = [one.chosen for one in read_preferences(tmp_path / "pairs.jsonl")]
    assert set(chosen) == learned
    assert sum(text.endswith("[END OF SESSION]") for text in chosen) == 4


def test_training_waits_for_its_pairs(bench: Bench) -> None:
    generate(bench)
    make_dataset(bench)
    bench.store.set_aside(str(next(iter(bench.keys.pairs().values()))))
    with pytest.raises(Owed, match="pairs still owes 1 unit, "):
        train(Bench(bench.study, Silent()), "smollm2")


def test_status_and_plan_know_of_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(file)]) == 0
    assert "\npairs " in capsys.readouterr().out
    assert run(["generate", str(file), "--inline"]) == 0
    assert run(["status", str(file)]) in (0, 1)
    assert "pairs " in capsys.readouterr().out
    bench = Bench(load_study(file), Silent())
    assert not bench.survey(Stage.PAIRS).owed(Stage.PAIRS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"models__smollm2__recipe": ORPO | {"preferences": "made:other"}},
            "unknown pairs 'other'",
        ),
        ({"models__smollm2__recipe": ORPO | {"preferences": "made:"}}, "a name under `pairs`"),
        ({"pairs": {"fair": {"rejected": {"endpoint": "gone"}}}}, "unknown endpoint 'gone'"),
        (
            {"pairs": {"fair": {"rejected": {"endpoint": "script"}, "form": "x"}}},
            "unknown form 'x'",
        ),
    ],
)
def test_pairs_that_cannot_be_made_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_study(tmp_path, example_study(**STUDY | changes))
    assert run(["check", str(file)]) == 2
    assert said in capsys.readouterr().err
