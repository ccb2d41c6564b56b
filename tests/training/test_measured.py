"""Which epoch is best, and by which split."""

from __future__ import annotations

import pytest

from cbt_ray.training.measured import Point, chosen_by, json_of, lowest, points_of


def course(split: str, *losses: float | None) -> list[Point]:
    return [Point(4 * n, float(n), {"train": 9.0 - n, split: x}) for n, x in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((2.0, 1.5, 1.2, 1.3), 2),
        ((2.0, 1.5, 1.2, 1.2), 2),
        ((2.0, 1.5, 1.4, 1.3), 3),
        ((1.0, 1.5, 1.4, 1.6), 2),
        ((2.0, None, 1.4, 1.6), 2),
    ],
    ids=["rises", "equal", "falls", "never below its start", "no number"],
)
def test_the_best_epoch_has_the_lowest_loss_and_is_the_earlier(
    losses: tuple[float | None, ...], expected: int
) -> None:
    """Not that before training, whatever its loss."""
    found = lowest(course("test", *losses), "test")
    assert found is not None
    assert found.epoch == expected


def test_that_before_training_counts_where_it_is_asked_for() -> None:
    found = lowest(course("test", 1.0, 1.5), "test", start=True)
    assert found is not None
    assert found.epoch == 0


def test_without_a_finite_loss_none_is_best() -> None:
    assert lowest(course("test", 1.0, None), "test") is None
    assert lowest(course("test", 1.0, 0.9), "held_out") is None
    assert lowest([], None) is None


def test_what_is_held_out_decides_before_the_test_and_never_the_training_set() -> None:
    points = [Point(0, 0.0, {"train": 1.0, "test": 1.0, "held_out": 1.0})]
    assert chosen_by(points) == "held_out"
    assert chosen_by(course("test", 1.0)) == "test"
    assert chosen_by([Point(0, 0.0, {"train": 1.0})]) is None


def test_points_are_read_as_they_were_written() -> None:
    points = course("held_out", 2.0, None, 1.5)
    assert points_of(json_of(reversed(points))) == points
    assert points[1].said == "epoch 1: training set 8.000"
    assert Point(3, 1.5, {"test": None}).said == "epoch 1.5: no finite loss"
