"""Which candidate a model is made of, and what status and report say of all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.batch.job import BatchJob, owed, targets
from cbt_ray.commands.preregister import preregister
from cbt_ray.commands.status import Status as Progress
from cbt_ray.commands.status import print_status
from cbt_ray.commands.weights import bring_weights
from cbt_ray.errors import GateFailed, InputError, Owed
from cbt_ray.report import CandidateRow
from cbt_ray.stages.methods import _trained
from cbt_ray.stages.preflight import preflight
from cbt_ray.stages.searched import candidates_of, chosen_of, fell
from cbt_ray.stages.trained import candidates, leaking, trainings
from cbt_ray.study import load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.training.live import Live, Step
from cbt_ray.unit import Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages import scripted

MADE = Checkpoint("first", True)
Losses = list[float | None]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Of a search of four: learning rate 0.001 and 0.004, rank 8 and 16."""
    document = scripted.study_document(tmp_path / "store", **scripted.ONE_TUNED)
    search = {"learning_rate": [1e-3, 4e-3], "rank": [8, 16]}
    document["models"]["first"]["recipe"]["search"] = search
    return Bench(load_study(scripted.write_study(tmp_path, document)), Silent())


def put(bench: Bench, losses: list[Losses | None], kept: int = -1, made: Checkpoint = MADE) -> None:
    """Adapters with these held-out losses by epoch; None: that candidate is owed."""
    for one, line in zip(bench.study.candidates(made), losses, strict=True):
        if line is None:
            continue
        points = [
            {"step": n, "epoch": float(n), "loss": {"held_out": loss, "test": 3.0}}
            for n, loss in enumerate(line, 1)
        ]
        at = points[kept]
        metrics = {"measured": points, "kept": {"step": at["step"], "epoch": at["epoch"]}}
        content = {"metrics": metrics, "adapter": {}}
        bench.store.put(Unit(bench.keys.adapter(one), content, made_from={}))


def lost(bench: Bench, *places: int) -> None:
    for place in places:
        key = bench.keys.adapter(bench.study.candidates(MADE)[place])
        bench.store.put(Unit(key, {"metrics": {}}, Status.REJECTED, "diverged", made_from={}))


@pytest.mark.parametrize(
    ("losses", "kept", "best"),
    [
        ([[2.0], [1.5], [1.6], [1.7]], -1, 1),
        ([[2.0], [1.5], [1.5], [1.7]], -1, 1),
        ([[1.0, 2.0], [1.6, 1.5], [1.2, 1.7], [1.1, 1.8]], -1, 1),
        ([[1.0, 2.0], [1.6, 1.5], [1.2, 1.7], [1.1, 1.8]], 0, 0),
        ([[None], [2.0], [1.9], [1.95]], -1, 2),
    ],
    ids=["lowest", "the earlier of equals", "of the last", "of the best", "no number"],
)
def test_the_lowest_held_out_loss_of_what_is_kept_is_chosen(
    bench: Bench, losses: list[Losses | None], kept: int, best: int
) -> None:
    put(bench, losses, kept)
    assert chosen_of(bench, MADE) == candidates_of(bench, MADE)[best]


def test_a_job_of_a_cluster_trains_all_candidates_of_a_model(bench: Bench) -> None:
    made = targets(bench.keys, BatchJob.TRAIN, "first")
    assert made == [str(bench.keys.adapter(one)) for one in bench.study.candidates(MADE)]
    put(bench, [[2.0], None, [1.5], None])
    assert owed(bench, BatchJob.TRAIN, "first") == ["first-tuned-lr0.001", "first-tuned"]


def test_nothing_is_chosen_while_a_candidate_is_owed(bench: Bench) -> None:
    put(bench, [[2.0], None, [1.5], None])
    lost(bench, 1)
    with pytest.raises(Owed, match=r"adapter/first-tuned/\w+: owed; run first: cbt-ray train "):
        chosen_of(bench, MADE)
    assert fell(bench, MADE) is None
    lost(bench, 3)
    assert chosen_of(bench, MADE).loss == 1.5


def test_what_all_lost_is_told(bench: Bench) -> None:
    lost(bench, 0, 1, 2, 3)
    assert "in none of 4 trainings; to train again all the same: cbt-ray train" in str(
        fell(bench, MADE)
    )


def test_what_was_trained_elsewhere_is_exported_without_what_trains(bench: Bench) -> None:
    study = load_study(bench.study.file, {"models.first.recipe.backend": "unsloth"})
    there = Bench(study, Silent())
    with pytest.raises(InputError, match=r"recipe\.backend: backend unsloth: expected "):
        preflight(there)
    put(there, [[2.0], [1.5], [1.6], [1.7]])
    preflight(there)


def test_each_seed_is_a_search_of_its_own(bench: Bench, tmp_path: Path) -> None:
    study = load_study(bench.study.file, {"models.first.seeds": 2})
    both = Bench(study, Silent())
    again = MADE._replace(seed=1)
    put(both, [[2.0], [1.5], [1.6], [1.7]])
    put(both, [[2.0], [1.5], [1.6], [1.2]], made=again)
    assert len(both.keys.tuned) == 8
    assert [chosen_of(both, one).recipe.lora.r for one in (MADE, again)] == [16, 16]
    assert [chosen_of(both, one).recipe.learning_rate for one in (MADE, again)] == [1e-3, 4e-3]
    assert chosen_of(both, again).recipe.seed == chosen_of(both, MADE).recipe.seed + 1


def status(bench: Bench) -> list[str]:
    said: list[str] = []
    print_status(bench, lambda line: said.append(str(line)))
    return [line for line in said if line.startswith(("search ", "training "))]


def test_status_says_how_many_are_trained_and_which_is_ahead(bench: Bench) -> None:
    assert status(bench) == ["search first: 0 of 4 candidates"]
    put(bench, [[2.0], [1.5], None, None])
    under_way = bench.study.candidates(MADE)[2]
    with Live(bench.store, bench.keys.adapter(under_way)) as live:
        live(Step(2, 8, loss=2.5))
    search, training = status(bench)
    assert search == (
        "search first: 2 of 4 candidates; the lowest held-out loss so far is 1.500 "
        "(learning rate 0.001, rank 16)"
    )
    assert training.startswith("training first-r8: step 2 of 8, loss 2.500")
    put(bench, [None, None, [1.6], [1.7]])
    assert "4 of 4 candidates; the lowest held-out loss is 1.500 (" in status(bench)[0]


def test_status_as_json_has_the_search(bench: Bench) -> None:
    put(bench, [[2.0], [1.5], None, None])
    ahead = {"learning_rate": 1e-3, "rank": 16, "loss": 1.5}
    assert Progress(bench).document()["searches"] == [
        {"model": "first", "candidates": 4, "trained": 2, "ahead": ahead}
    ]


def test_the_declaration_has_the_search(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "plan.md"
    preregister(bench, file, datetime(2026, 12, 1, tzinfo=UTC), lambda _line: None)
    said = "`first` is chosen from 4 trainings (learning rate 0.001, 0.004; rank 8, 16) by the "
    assert said in file.read_text()


def read(bench: Bench) -> dict[Any, Unit]:
    keys = [key for keys in bench.keys.all().values() for key in keys]
    return {key: unit for key, unit in bench.store.get_many(keys) if unit is not None}


def test_the_report_has_all_candidates_and_the_training_of_the_chosen_one(bench: Bench) -> None:
    put(bench, [[2.0], [1.5], [1.6], None])
    assert [row.chosen for row in candidates(bench, read(bench))] == [False] * 4
    lost(bench, 3)
    rows = list(candidates(bench, read(bench)))
    assert [(row.learning_rate, row.rank, row.lost, row.chosen) for row in rows] == [
        (1e-3, 8, "", False),
        (1e-3, 16, "", True),
        (4e-3, 8, "", False),
        (4e-3, 16, "diverged", False),
    ]
    bench.store.put(Unit(bench.keys.model(MADE), {"metrics": {}}, made_from={}))
    (training,) = trainings(bench, read(bench))
    assert [point.loss["held_out"] for point in training.measured] == [1.5]
    (checkpoint,) = _trained(bench, read(bench))
    assert (checkpoint.recipe.learning_rate, checkpoint.candidates) == (1e-3, 4)


def test_a_search_by_text_that_leaks_is_a_doubt(bench: Bench) -> None:
    rows = [CandidateRow("first tuned", 1e-3, 8, 1.0)] * 2
    assert not list(leaking(bench.study, rows))
    leaks = load_study(bench.study.file, {"dataset.format": "paper"})
    (notice,) = leaking(leaks, rows)
    assert notice.text.startswith("first tuned was chosen by a search: held-out examples repeat")


def test_weights_of_a_model_that_failed_its_gate_name_the_gate(
    bench: Bench, tmp_path: Path
) -> None:
    check = {"name": "stops", "passed": False, "measured": 0, "expected": "all"}
    content = {"metrics": {"gate": [check]}}
    key = bench.keys.model(MADE)
    bench.store.put(Unit(key, content, Status.REJECTED, "parity: stops", made_from={}))
    with pytest.raises(GateFailed, match=r"stops: expected all, found 0.*--retry-rejected"):
        bring_weights(bench, "first-tuned", tmp_path / "w.gguf", lambda _line: None)
