"""A study that tunes on pairs of its own, in a form with a hidden part: killed while pairs are made
and after them, it ends as an undisturbed one, and no pair is made twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.store.folder import FolderStore
from cbt_ray.training.preference import PairFigures
from cbt_ray.unit import Stage
from tests.stages import scripted
from tests.stages.test_kill import attempts, without_files

pytestmark = [pytest.mark.train, pytest.mark.llama]
PARTS = [
    {"name": "thinking", "label": "Thinking:"},
    {"name": "answer", "label": "Answer:", "shown": True},
]
LATENCY_S = 0.05
ARMS = [
    {"name": "plain", "model": "first", "form": "reasoned"},
    {"name": "tuned", "model": "first", "tuned": True},
]


def document(store: Path, speaking: Path, latency: float = 0.0) -> dict[str, Any]:
    changes = scripted.tuned(speaking, "first")
    (recipe,) = (model["recipe"] for model in changes["models"].values())
    orpo = {"method": "orpo", "preferences": "made:own", "batching": "padding_free", "batch": 2}
    made = scripted.study_document(store, latency, **changes) | {
        "arms": ARMS,
        "models": {"first": {"form": "reasoned", "recipe": {**recipe, **orpo}}},
        "forms": {"reasoned": {"parts": PARTS}},
        "pairs": {"own": {"form": "reasoned", "rejected": {"endpoint": "script"}}},
        "dataset": {"format": "turn", "held_out": 0.3},
        "engine": {"workers": 2, "chains_per_worker": 1},
    }
    made["courses"] |= {"write": "turns", "exchanges": 3, "form": "reasoned"}
    made["endpoints"]["script"]["licence"] = "Apache-2.0"
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, speaking: Path) -> Path:
    """The store of a study that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file = scripted.write_study(folder, document(folder / "store", speaking))
    scripted.run("study", file)
    return folder / "store"


def test_what_was_trained_on_and_measured(undisturbed: Path) -> None:
    (tuned,) = (
        unit for key, unit in scripted.units(undisturbed, Stage.ADAPTER).items() if "tuned" in key
    )
    metrics, pairs = tuned.content["metrics"], scripted.units(undisturbed, Stage.PAIRS)
    made = [choice for unit in pairs.values() for choice in unit.content["pairs"]]
    assert made
    for choice in made:
        thinking, answer = choice["chosen"].split("\nAnswer:\n")
        assert thinking.startswith("Thinking:\n")
        assert answer
    kinds = metrics["preference"]
    assert metrics["pairs"] == kinds["trained"]["pairs"]
    assert sum(one["pairs"] for one in kinds.values()) == len(made)
    assert set(kinds) == {"trained", "held_out"}
    for one in kinds.values():
        assert PairFigures(**one["after"]) != PairFigures(**one["before"])
        terms = one["after"]["nll"] + one["after"]["odds"]
        assert terms < one["before"]["nll"] + one["before"]["odds"]
    for point in metrics["measured"]:
        assert set(point["loss"]) == {"train", "held_out"}, "of the text that pairs were made of"
    assert metrics["measured"][-1] != metrics["measured"][0]
    live = FolderStore(undisturbed).read(f"rehearsal/training/{tuned.key.id}/{tuned.key.h16}.jsonl")
    lines = [json.loads(line) for line in (live or b"").splitlines()]
    assert [line["margin"] for line in lines] == pytest.approx(metrics["margin"], rel=1e-4)


def test_report_and_card_say_how_it_took_to_them(undisturbed: Path) -> None:
    store = FolderStore(undisturbed)
    (report,) = scripted.units(undisturbed, Stage.REPORT).values()
    assert b"Chosen likelier" in (store.read(report.content["file"]) or b"")
    cards = [path for path in store.list("rehearsal/models/") if path.endswith("README.md")]
    (card,) = (path for path in cards if "/adapter/" not in path)
    assert b"| share in which the chosen answer is likelier |" in (store.read(card) or b"")


def test_killed_among_pairs_and_behind_them_no_pair_is_made_twice(
    tmp_path: Path, undisturbed: Path, speaking: Path
) -> None:
    store = tmp_path / "store"
    file = scripted.write_study(tmp_path, document(store, speaking, LATENCY_S))
    total = len(scripted.units(undisturbed, Stage.PAIRS))

    process = scripted.start("study", file)
    scripted.wait_until(lambda: 1 <= len(scripted.units(store, Stage.PAIRS)) < total, process)
    scripted.kill(process)
    some, tried = scripted.units(store, Stage.PAIRS), attempts(store)
    assert 1 <= len(some) < total

    process = scripted.start("study", file)
    trained = FolderStore(store)
    scripted.wait_until(lambda: any(trained.list("rehearsal/checkpoints/first-tuned")), process)
    scripted.kill(process)
    pairs, again = scripted.units(store, Stage.PAIRS), attempts(store)
    assert {key: again[key] for key in some} == {key: tried[key] for key in some}
    assert len(pairs) == total
    assert not scripted.units(store, Stage.ADAPTER)

    scripted.run("study", file)
    after = attempts(store)
    assert {key: after[key] for key in pairs} == {key: again[key] for key in pairs}
    expected, found = scripted.units(undisturbed), scripted.units(store)
    assert set(found) == set(expected)
    for key in expected:
        assert found[key].content == without_files(expected[key].content, found[key].content), key
