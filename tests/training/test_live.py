"""Live figures: lines in the store that survive kills, torn files, odd numbers and a store that
fails.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import struct
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store.folder import FolderStore
from cbt_ray.training.event_file import NAME
from cbt_ray.training.live import Live, Step, path_of, read_record
from cbt_ray.training.measured import Point
from cbt_ray.training.preference import PairFigures
from cbt_ray.unit import Key, Stage
from tests.needs import needs

pytestmark = pytest.mark.slow

KEY = Key("demo", Stage.ADAPTER, "tiny-tuned", "0123456789abcdef")
LONG_AGO = datetime(2026, 11, 3, 12, tzinfo=UTC)


class Counted(FolderStore):
    """Counts what is written, and fails where it is told to."""

    writes = 0
    broken: Callable[[], Exception] | None = None

    def replace(self, path: str, data: bytes) -> None:
        self.writes += 1
        if self.broken is not None:
            raise self.broken()
        super().replace(path, data)

    def read(self, path: str) -> bytes | None:
        if self.broken is not None:
            raise self.broken()
        return super().read(path)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return LONG_AGO + timedelta(seconds=self.seconds)


@pytest.fixture
def store(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "store")


def step(number: int, **more: Any) -> Step:
    fields: dict[str, Any] = {
        "loss": 2 / number,
        "grad_norm": 1.0,
        "tokens": 100 * number,
        "left_s": 10.0 * (9 - number),
    }
    return Step(number, 9, **(fields | more))


def run(store: FolderStore, numbers: range, clock: Clock | None = None, **more: Any) -> None:
    """One run of a training, a second a step."""
    clock = clock or Clock()
    with Live(store, KEY, clock, now=clock.now, **more) as live:
        for number in numbers:
            live(step(number))
            clock.seconds += 1


def lines(store: FolderStore) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store.read(path_of(KEY)) or b"").splitlines()]


def test_a_line_a_step_beside_the_units(store: Counted) -> None:
    run(store, range(1, 4))
    assert path_of(KEY) == "demo/training/tiny-tuned/0123456789abcdef.jsonl"
    assert [line["step"] for line in lines(store)] == [1, 2, 3]
    first = {"step": 1, "steps": 9, "loss": 2.0, "grad_norm": 1.0, "tokens": 100, "left_s": 80.0}
    absent = dict.fromkeys(
        ["learning_rate", "tokens_per_second", "memory_gib", "seconds"]
        + [field.name for field in fields(PairFigures)]
    )
    assert lines(store)[0] == {**first, **absent, "measured": [], "at": "2026-11-03T12:00:00+00:00"}


def test_it_is_written_every_few_seconds_and_at_the_end(store: Counted) -> None:
    run(store, range(1, 10))
    assert store.writes == 3, "at once, behind five seconds, at the end"
    with Live(store, KEY, Clock()) as live:
        live(step(1))
    assert store.writes == 4, "nothing was left to write at the end"


def test_a_slow_store_is_written_to_less_often(store: Counted) -> None:
    clock = Clock()
    quick = store.replace

    def slow(path: str, data: bytes) -> None:
        clock.seconds += 10
        quick(path, data)

    store.replace = slow  # type: ignore[method-assign]
    run(store, range(1, 400), clock)
    assert store.writes == 3, "at step 1, 200 seconds later, at the end"


def test_a_run_that_continues_drops_what_it_makes_again_and_marks_where(store: Counted) -> None:
    run(store, range(1, 8))
    run(store, range(5, 8))
    run(store, range(5, 10))
    assert [line.get("step", line.get("resumed")) for line in lines(store)] == [
        1,
        2,
        3,
        4,
        4,
        4,
        5,
        6,
        7,
        8,
        9,
    ]
    record = read_record(store, KEY)
    assert record.resumed == [4, 4]
    assert [one.step for one in record.steps] == list(range(1, 10))
    run(store, range(3, 5))
    assert read_record(store, KEY).resumed == [2], (
        "what went on behind step 4 is no part of this training any more"
    )


def test_a_training_that_begins_anew_keeps_nothing_but_the_mark(store: Counted) -> None:
    run(store, range(1, 8))
    run(store, range(1, 3))
    record = read_record(store, KEY)
    assert ([one.step for one in record.steps], record.resumed) == ([1, 2], [0])


def test_a_checkpoint_whose_live_figures_are_lost_is_marked(store: Counted) -> None:
    run(store, range(5, 7))
    assert read_record(store, KEY).resumed == [4]


def test_a_run_without_a_step_leaves_the_file_as_it_is(store: Counted) -> None:
    run(store, range(1, 4))
    before = store.read(path_of(KEY))
    run(store, range(0))
    assert store.read(path_of(KEY)) == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_null(store: Counted, value: float) -> None:
    with Live(store, KEY) as live:
        measured = [Point(1, 1.0, {"train": value})]
        live(step(1, loss=value, grad_norm=value, learning_rate=value, measured=measured))
    assert b"NaN" not in (store.read(path_of(KEY)) or b"")
    assert [lines(store)[0][name] for name in ("loss", "grad_norm", "learning_rate")] == [None] * 3
    assert lines(store)[0]["measured"] == [{"step": 1, "epoch": 1.0, "loss": {"train": None}}]


FOREIGN = [
    b'{"step":3,"steps":9,"loss":0.5,"at":"2026-11-03T12:00:0',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"null",
    b"[1]",
    b'{"step":true,"steps":9}',
    b'{"step":-1,"steps":9}',
    b'{"step":2.5,"steps":9}',
    b'{"step":"4","steps":9}',
    b'{"step":4}',
    b'{"resumed":"x"}',
    b'{"step":' + b"9" * 30 + b',"steps":9}',
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=range(len(FOREIGN)))
def test_torn_and_foreign_lines_are_passed_over(store: Counted, foreign: bytes) -> None:
    run(store, range(1, 3))
    store.replace(path_of(KEY), foreign + b"\n" + (store.read(path_of(KEY)) or b"") + foreign)
    assert [one.step for one in read_record(store, KEY).steps] == [1, 2]
    run(store, range(3, 5))
    assert [line.get("step", "mark") for line in lines(store)] == [1, 2, "mark", 3, 4]


@pytest.mark.parametrize("value", ["1e999", "NaN", '"high"', "[]", "{}", "1" + "0" * 400])
def test_a_foreign_number_is_none(store: Counted, value: str) -> None:
    store.replace(
        path_of(KEY),
        f'{{"step":1,"steps":2,"loss":{value},"tokens":{value},"at":{value},"measured":'
        f'[{{"step":{value},"epoch":1,"loss":{{}}}},'
        f'{{"step":1,"epoch":1,"loss":{{"test":{value}}}}},'
        f'{{"step":1,"epoch":{value},"loss":{{}}}}]}}'.encode(),
    )
    record = read_record(store, KEY)
    assert [replace(step, measured=[]) for step in record.steps] == [Step(1, 2, measured=[])]
    assert Point(1, 1.0, {"test": None}) in record.steps[0].measured
    assert all(0 <= point.step < 1 << 53 for point in record.steps[0].measured)
    assert record.updated is None


@pytest.mark.parametrize("value", ["3", "{}", "[3]", '[{"step":1}]', '[{"loss":{"test":1}}]'])
def test_foreign_losses_are_passed_over(store: Counted, value: str) -> None:
    line = f'{{"step":1,"steps":2,"measured":{value}}}'
    store.replace(path_of(KEY), line.encode())
    assert read_record(store, KEY).measured == []


def test_losses_by_split_are_those_of_the_run_that_went_on(store: Counted) -> None:
    def point(number: int, loss: float) -> Point:
        return Point(number, number / 2, {"train": loss, "test": None})

    def made(numbers: range, loss: float) -> None:
        with Live(store, KEY) as live:
            for number in numbers:
                before = [point(0, loss)] if number == 1 else []
                taken = [point(number, loss)] if number % 2 == 0 else []
                live(step(number, measured=[*before, *taken]))

    made(range(1, 7), 2.0)
    made(range(5, 9), 1.0)
    expected = [point(0, 2.0), point(2, 2.0), point(4, 2.0), point(6, 1.0), point(8, 1.0)]
    assert read_record(store, KEY).measured == expected


def test_no_file_is_an_empty_record(store: Counted) -> None:
    assert not read_record(store, KEY).steps


@pytest.mark.parametrize(
    "fault",
    [Infrastructure("store: out of reach", "store"), InputError("store: refused"), OSError("full")],
)
def test_a_store_that_fails_is_told_of_once_and_loses_nothing(
    store: Counted, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    run(store, range(1, 4))
    clock = Clock()
    live = Live(store, KEY, clock)
    store.broken = lambda: fault
    with caplog.at_level(logging.WARNING):
        for number in range(3, 6):
            live(step(number))
            clock.seconds += 100
        live.close()
    assert len(caplog.records) == 1
    assert "the training goes on" in caplog.text
    store.broken = None
    assert [one.step for one in read_record(store, KEY).steps] == [1, 2, 3], (
        "what an earlier run left is there"
    )
    live.close()
    record = read_record(store, KEY)
    assert ([one.step for one in record.steps], record.resumed) == ([1, 2, 3, 4, 5], [2])


def test_what_ends_a_training_is_not_hidden(store: Counted) -> None:
    def training() -> None:
        with Live(store, KEY) as live:
            live(step(1))
            raise ZeroDivisionError

    store.broken = lambda: OSError("full")
    with pytest.raises(ZeroDivisionError):
        training()


# ---- TensorBoard ---------------------------------------------------------------------------------


def test_an_absent_package_is_refused_before_training(
    store: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"tensorboard: .*cbt-ray\[train\].*tensorboard: false"):
        Live(store, KEY, tensorboard=True)
    Live(store, KEY)


def test_an_event_file_holds_all_runs(store: Counted) -> None:
    needs("tensorboardX", importlib.util.find_spec("tensorboardX") is not None)
    run(store, range(1, 6), tensorboard=True)
    run(store, range(4, 10), tensorboard=True)
    (path,) = store.list("demo/training/tiny-tuned/0123456789abcdef.tensorboard/")
    assert path.endswith(f"/{NAME}")
    known = {line["step"]: line["loss"] for line in lines(store) if "step" in line}
    assert scalars(store.read(path) or b"")["loss/training"] == pytest.approx(known)
    assert set(scalars(store.read(path) or b"")) == {"loss/training", "grad_norm"}
    with Live(store, KEY, tensorboard=True) as live:
        live(step(10, measured=[Point(8, 2.0, {"train": 1.5, "test": None}), Point(10, 3.0, {})]))
    assert scalars(store.read(path) or b"")["loss/train"] == {8: 1.5}
    assert "loss/test" not in scalars(store.read(path) or b"")


def scalars(data: bytes) -> dict[str, dict[int, float]]:
    """Tag -> step -> value, read back from records (length, its checksum, event, its checksum)."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        for value in event.summary.value:
            assert event.wall_time >= LONG_AGO.timestamp()
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found
