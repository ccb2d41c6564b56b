"""What report and status say of a training: from its unit and its live figures, whole, torn or
absent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.commands.status import print_status
from cbt_ray.report import CheckRow, FileRow, TrainingRow
from cbt_ray.stages.steps import Steps
from cbt_ray.stages.trained import notices_of, row_of, trainings
from cbt_ray.study import load_study
from cbt_ray.study.model import Checkpoint
from cbt_ray.training.backend.job import MadeStep
from cbt_ray.training.live import Live, Record, Step, path_of, read_record
from cbt_ray.training.measured import Kept, Point, json_of
from cbt_ray.training.preference import PairFigures
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent
from tests.stages import scripted

FIRST = Checkpoint("first", True)
BEGUN = datetime(2026, 11, 3, 12, tzinfo=UTC)
METRICS = {
    "steps": 6,
    "measured": [
        {"step": 0, "epoch": 0.0, "loss": {"train": 2.2, "held_out": 2.1}},
        {"step": 3, "epoch": 1.0, "loss": {"train": 1.9, "held_out": 2.0}},
        {"step": 6, "epoch": 2.0, "loss": {"train": 1.7, "held_out": 1.9}},
    ],
    "kept": {"step": 6, "epoch": 2.0, "by": None},
    "loss": [2.0, 1.9, float("nan"), 1.8, 1.7, 1.6],
    "grad_norm": [1.0] * 6,
    "learning_rate": [1e-4] * 6,
    "tokens_seen": 600,
    "prompt_parity": {"prompts": 3, "equal": True},
    "gate": [
        {"name": "merged_kl", "passed": True, "measured": 1e-6, "expected": 1e-5},
        {"name": "q8_0", "passed": None},
    ],
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    document = scripted.study_document(tmp_path / "store", **scripted.ONE_TUNED)
    file = scripted.write_study(tmp_path, document)
    return Bench(load_study(file), Silent())


@pytest.fixture
def key(bench: Bench) -> Key:
    return bench.keys.adapter(FIRST)


def measured(bench: Bench, key: Key, numbers: range, **more: Any) -> None:
    """Live figures of one run."""
    with Live(bench.store, key, now=lambda: BEGUN) as live:
        for n in numbers:
            live(
                Step(
                    n,
                    6,
                    loss=2.5,
                    measured=[Point(3, 1.0, {"held_out": 2.0})] if n == 3 else [],
                    tokens_per_second=100.0 * n,
                    memory_gib=n / 2,
                    **more,
                )
            )


def unit_of(key: Key, **more: Any) -> Unit:
    def blob(digit: str) -> dict[str, Any]:
        return {"path": f"rehearsal/blobs/{digit}", "sha256": digit * 64, "size": 1000}

    files = {"model.gguf": blob("a"), "config.json": blob("b")}
    content = {
        "gguf": blob("a"),
        "metrics": METRICS,
        "adapter": {"adapter.safetensors": blob("c")},
        "files": files,
    }
    return Unit(
        key,
        content | more,
        provenance={"measured": {"seconds": 61.5, "tokens_per_second": 77.0}},
        made_from={},
    )


def row(bench: Bench, unit: Unit) -> TrainingRow:
    (found,) = trainings(bench, {unit.key: unit})
    return found


def test_what_was_found_of_its_server_stands_behind_its_own_checks(tmp_path: Path) -> None:
    own = {"kind": "vllm", "weights": "finetuned", "dtype": "float32"}
    arms = [{**scripted.TUNED_ARMS[0], "endpoint": "own"}]
    changes = {**scripted.ONE_TUNED, "arms": arms}
    document = scripted.study_document(tmp_path / "store", **changes)
    document["endpoints"]["own"] = own
    bench = Bench(load_study(scripted.write_study(tmp_path, document)), Silent())
    unit = unit_of(bench.keys.adapter(FIRST))
    assert [check.name for check in row(bench, unit).checks] == ["merged_kl", "q8_0"]
    check = {"name": "served.greedy", "passed": True, "measured": {}, "expected": "the same"}
    bench.store.put(Unit(bench.keys.served(FIRST, "own"), {"checks": [check]}, made_from={}))
    assert row(bench, unit).checks[2:] == [CheckRow("served.greedy", True, {}, "the same")]
    said: list[str] = []
    print_status(bench, said.append)
    assert not [line for line in said if "other units" in line]


def test_unit_and_live_figures_make_one_row(bench: Bench, key: Key) -> None:
    measured(bench, key, range(1, 5))
    measured(bench, key, range(3, 7))
    found = row(bench, unit_of(key))
    assert (found.model, found.steps, found.kept) == ("first tuned", 6, Kept(6, 2.0))
    assert [(point.epoch, point.loss["held_out"]) for point in found.measured] == [
        (0, 2.1),
        (1, 2.0),
        (2, 1.9),
    ]
    assert (found.tokens, found.tokens_per_second, found.memory_gib, found.seconds) == (
        600,
        350.0,
        3.0,
        61.5,
    )
    curves = found.curves
    assert curves.loss == [(1, 2.0), (2, 1.9), (3, None), (4, 1.8), (5, 1.7), (6, 1.6)], (
        "the unit's own, not the live ones"
    )
    assert curves.memory_gib == [(n, n / 2) for n in range(1, 7)]
    assert curves.resumed == [2]
    assert found.checks == [CheckRow("merged_kl", True, 1e-6, 1e-5), CheckRow("q8_0", None)]
    assert sorted(file.name for file in found.files) == [
        "adapter.safetensors",
        "config.json",
        f"{key.id}.gguf",
    ]
    assert FileRow("config.json", "b" * 64, 1000) in found.files
    assert found.details["prompt_parity.equal"] is True
    assert not {"loss", "gate", "learning_rate", "measured", "kept.step"} & set(found.details)


@pytest.mark.parametrize("harm", [None, b"", b"\x00 no lines of ours"])
def test_without_live_figures_the_curve_is_the_units(
    bench: Bench, key: Key, harm: bytes | None
) -> None:
    if harm is not None:
        bench.store.replace(path_of(key), harm)
    found = row(bench, unit_of(key))
    assert len(found.curves.loss) == len(found.curves.grad_norm) == 6
    assert len(found.measured) == 3
    assert (found.curves.tokens_per_second, found.curves.memory_gib, found.curves.resumed) == (
        [],
        [],
        [],
    )
    assert (found.tokens_per_second, found.memory_gib) == (77.0, None)


def test_live_figures_stand_in_for_curves_that_a_unit_does_not_hold(bench: Bench, key: Key) -> None:
    measured(bench, key, range(1, 4))
    found = row(bench, unit_of(key, metrics={"steps": 3}))
    assert found.curves.loss == [(1, 2.5), (2, 2.5), (3, 2.5)]
    assert found.curves.grad_norm == [], "never measured"
    assert found.measured == [Point(3, 1.0, {"held_out": 2.0})]


PAIRS = {
    "preferred": 0.75,
    **{"margin": 0.4, "log_p_chosen": -1.6, "log_p_rejected": -2.0, "nll": 1.5, "odds": 0.05},
}


def of_pairs(key: Key, after: float, held_out: float) -> Unit:
    preference = {
        kind: {"pairs": 20, "before": PAIRS, "after": {**PAIRS, "preferred": share}}
        for kind, share in (("trained", after), ("held_out", held_out))
    }
    steps = {name: [value] * 6 for name, value in PAIRS.items()}
    return unit_of(key, metrics={**METRICS, **steps, "preference": preference})


def test_how_it_took_to_pairs_stands_in_rows_and_a_curve(bench: Bench, key: Key) -> None:
    found = row(bench, of_pairs(key, 0.9, 0.8))
    assert [(one.kind, one.when, one.figures.preferred) for one in found.preference] == [
        ("training", "before", 0.75),
        ("training", "after", 0.9),
        ("held-out", "before", 0.75),
        ("held-out", "after", 0.8),
    ]
    assert found.curves.margin == [(number, 0.4) for number in range(1, 7)]
    assert not {"margin", "preference", "preferred"} & set(found.details)


@pytest.mark.parametrize(
    ("after", "held_out", "said"),
    [(0.5, 0.5, None), (0.9, 0.45, "45% of 20 held-out"), (0.05, 0.45, "5% of 20 training")],
)
def test_a_model_that_still_prefers_the_rejected_is_a_doubt(
    bench: Bench, key: Key, after: float, held_out: float, said: str | None
) -> None:
    notices = [one.text for one in notices_of([row(bench, of_pairs(key, after, held_out))])]
    assert len(notices) == (said is not None)
    assert all(f"the chosen one is likelier in {said} pairs" in text for text in notices)


OVER = [(2.2, 2.1), (1.5, 2.0), (0.9, 2.3)]


@pytest.mark.parametrize(
    ("kept", "losses", "doubted"),
    [(6, OVER, True), (3, OVER, False), (6, [(2.2, 2.1), (1.5, 2.0), (0.9, 1.9)], False)],
    ids=["kept behind it", "kept there", "falls"],
)
def test_a_model_that_learnt_by_heart_is_a_doubt(
    bench: Bench, key: Key, kept: int, losses: list[tuple[float, float]], doubted: bool
) -> None:
    points = [Point(3 * n, float(n), {"train": a, "test": b}) for n, (a, b) in enumerate(losses)]
    own = {"measured": json_of(points), "kept": {"step": kept, "epoch": kept / 3, "by": None}}
    found = list(notices_of([row(bench, unit_of(key, metrics={**METRICS, **own}))]))
    assert [one.id for one in found] == ["overfitted"] * doubted
    assert all(one.text.startswith("first tuned: The loss on test text") for one in found)


def test_losses_are_told_as_they_are_taken(bench: Bench, key: Key) -> None:
    """Also of a step that comes too soon after the line before it."""
    said: list[str] = []
    bench.progress.say = said.append  # type: ignore[assignment, method-assign]
    taken = (Point(0, 0.0, {"train": 2.0}), Point(1, 0.5, {"train": 1.5, "test": 1.75}))
    with Live(bench.store, key) as live:
        Steps(bench, Stage.ADAPTER, FIRST, live)(MadeStep(1, 6, 2.0, 1.0, 60, 1.0, taken))
    assert said == [
        "adapter: first tuned: loss at epoch 0: training set 2.000",
        "adapter: first tuned: loss at epoch 0.5: training set 1.500, test 1.750",
    ]
    assert read_record(bench.store, key).measured == list(taken)


def test_a_step_on_pairs_is_told_and_kept(bench: Bench, key: Key) -> None:
    said: list[str] = []
    bench.progress.say = said.append  # type: ignore[assignment, method-assign]
    with Live(bench.store, key) as live:
        Steps(bench, Stage.ADAPTER, FIRST, live)(
            MadeStep(6, 6, 2.0, 1.0, 60, 1.0, pairs=PairFigures(**PAIRS))
        )
    assert "loss 2.000, chosen likelier in 75%, " in said[0]
    (step,) = read_record(bench.store, key).steps
    assert {name: getattr(step, name) for name in PAIRS} == PAIRS
    assert status(bench, timedelta())[0].startswith(
        "training first: step 6 of 6, loss 2.000, chosen likelier in 75%"
    )


def test_an_export_has_files_and_no_curves(key: Key) -> None:
    gguf = {"path": "rehearsal/blobs/d", "sha256": "d" * 64, "size": 1}
    found = row_of("first instruct", None, Unit(key, {"gguf": gguf}, made_from={}), Record())
    assert (found.model, found.steps, found.kept) == ("first instruct", None, None)
    assert (found.curves.loss, found.measured) == ([], [])
    assert found.files == [FileRow("first-tuned.gguf", "d" * 64, 1)]


# ---- status --------------------------------------------------------------------------------------


def status(bench: Bench, after: timedelta) -> list[str]:
    said: list[str] = []
    print_status(bench, lambda line: said.append(str(line)), lambda: BEGUN + after)
    return [line for line in said if line.startswith("training ")]


@pytest.mark.parametrize(
    ("after", "age"),
    [
        (timedelta(seconds=7), "7 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(days=2), "48 h"),
        (timedelta(-1), "0 s"),
    ],
)
def test_status_says_how_far_a_training_is(
    bench: Bench, key: Key, after: timedelta, age: str
) -> None:
    assert status(bench, after) == []
    measured(bench, key, range(1, 5), left_s=200.0)
    assert status(bench, after) == [
        "training first: step 4 of 6, loss 2.500, at epoch 1: held out 2.000, 3 min left, "
        f"updated {age} ago"
    ]


def test_status_says_what_it_knows_and_no_more(bench: Bench, key: Key) -> None:
    bench.store.replace(path_of(key), b'{"step":2,"steps":6,"loss":null}')
    assert status(bench, timedelta()) == ["training first: step 2 of 6, no finite loss"]


def test_a_training_that_is_done_is_no_line_of_status(bench: Bench, key: Key) -> None:
    measured(bench, key, range(1, 7))
    assert status(bench, timedelta())
    bench.store.put(unit_of(key))
    assert status(bench, timedelta()) == []
