"""Losses by epoch: the figure, the table, and what is said of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cbt_ray.report import TrainingRow
from cbt_ray.report.epochs import figure, overfitting, parts, table, words
from cbt_ray.training.measured import Kept, Point

PUBLISHED = [(1.78, 1.7), (0.9, 0.93), (0.62, 0.8614), (0.45, 0.9), (0.33, 0.97), (0.27, 1.04)]


def course(*losses: tuple[float | None, float | None], split: str = "test") -> list[Point]:
    """Losses of the training set and of another split, from epoch 0 on."""
    return [
        Point(10 * n, float(n), {"train": train, split: unseen})
        for n, (train, unseen) in enumerate(losses)
    ]


def said(*losses: tuple[float | None, float | None], split: str = "test") -> str:
    return " ".join(overfitting(course(*losses, split=split)))


def test_learning_by_heart_is_said_with_its_epoch_and_its_numbers() -> None:
    assert said(*PUBLISHED) == (
        "The loss on test text, which was not trained on, is lowest at epoch 2 (0.861) and rises "
        "to 1.040 by epoch 5, while that on the training set falls from 0.620 to 0.270: from epoch "
        "2 on the model learns its examples by heart."
    )
    assert "The loss on held-out text" in said(*PUBLISHED, split="held_out")


def test_of_two_splits_that_rise_the_second_is_said_in_short() -> None:
    """Seen in five epochs of the embedded model."""
    losses = [(2.84, 2.77, 2.924), (2.104, 2.365, 2.433), (1.59, 2.333, 2.437), (1.179, 2.464, 2.6)]
    points = [
        Point(12 * n, float(n), {"train": train, "held_out": held, "test": test})
        for n, (train, held, test) in enumerate(losses)
    ]
    held_out, test = overfitting(points)
    assert held_out.endswith(": from epoch 2 on the model learns its examples by heart.")
    assert test == (
        "The loss on test text, which was not trained on, is lowest at epoch 1 (2.433) and rises "
        "to 2.600 by epoch 3."
    )


@pytest.mark.parametrize(
    "losses",
    [
        [(2.0, 2.0), (1.5, 1.6), (1.0, 1.5)],
        [(2.0, 2.0), (1.5, 1.7), (1.2, 1.8), (1.0, 1.5)],
        [(2.0, 2.0), (1.5, 1.5), (1.0, 1.5004)],
        [(2.0, None), (1.5, None)],
        [(2.0, 2.0)],
        [],
    ],
    ids=["falls", "falls again", "not as printed", "no number", "one point", "none"],
)
def test_nothing_is_said_where_nothing_rises(losses: list[tuple[float | None, float]]) -> None:
    assert said(*losses) == ""


@pytest.mark.parametrize("after", [1.2, 1.0])
def test_a_loss_that_never_fell_below_its_start_is_said(after: float) -> None:
    found = said((2.0, 1.0), (1.0, after), (0.5, 1.3))
    assert found == (
        "The loss on test text, which was not trained on, never fell below its start: it is 1.000 "
        f"before training, {after:.3f} at its lowest after that (epoch 1) and 1.300 at the end, "
        "while that on the training set falls from 2.000 to 0.500: the model learns its examples "
        "by heart and no more."
    )


def test_a_training_that_goes_astray_is_no_learning_by_heart() -> None:
    found = said((2.0, 2.0), (1.5, 1.5), (1.9, 1.9))
    assert "rises to 1.900 by epoch 2, and that on the training set does not fall" in found
    assert "learning rate may be too high" in found
    assert "by heart" not in found


def test_without_a_measured_training_set_only_the_rise_is_said() -> None:
    points = [Point(n, float(n), {"test": loss}) for n, loss in enumerate((2.0, 1.0, 1.5))]
    (found,) = overfitting(points)
    assert found.endswith("is lowest at epoch 1 (1.000) and rises to 1.500 by epoch 2.")


def row(kept: Kept | None, *losses: tuple[float, float], split: str = "test") -> TrainingRow:
    points = course(*(losses or PUBLISHED), split=split)
    return TrainingRow("birch tuned", 50, measured=points, kept=kept)


def test_kept_and_last_epoch_are_said_whichever_is_kept() -> None:
    last = words(row(Kept(50, 5.0)))
    assert last.startswith(
        "Kept is the last epoch, 5 (1.040). The lowest loss on test text is that of epoch 2 "
        "(0.861), which keep: best in the recipe would keep. The loss on test text"
    )
    best = words(row(Kept(20, 2.0, "held_out"), split="held_out"))
    assert best.startswith(
        "Kept is epoch 2 (0.861), which has the lowest loss on held-out text; the last one is "
        "epoch 5 (1.040). The loss on held-out text"
    )
    by_test = words(row(Kept(20, 2.0, "test")))
    assert "It was chosen by the test text itself, so its loss there is too good" in by_test
    both = words(row(Kept(10, 1.0), (2.0, 2.0), (1.5, 1.5)))
    assert both == ("Kept is the last epoch, 1 (1.500), which has the lowest loss on test text.")
    assert words(TrainingRow("birch instruct")) == ""


def test_the_table_holds_every_loss_and_marks_the_kept_and_the_last() -> None:
    found = table([row(Kept(20, 2.0, "test")), TrainingRow("birch instruct")])
    cells = [[cell.text for cell in line.cells] for line in found.rows]
    assert [line[1:4] for line in cells] == [
        [str(n), str(10 * n), f"{train:.3f}"] for n, (train, _) in enumerate(PUBLISHED)
    ]
    assert [line[5] for line in cells] == [f"{test:.3f}" for _, test in PUBLISHED]
    assert {line[4] for line in cells} == {"\N{EN DASH}"}, "nothing was held out"
    assert [line[6] for line in cells] == ["", "", "kept", "", "", "last"]


def test_the_figure_has_a_line_a_split_and_the_kept_epoch() -> None:
    made = figure(row(Kept(20, 2.0, "test")), 1)
    (panel,) = map(str, made.panels)
    assert [look.label for look in made.legend] == ["training set", "test"]
    assert re.findall(r'class="line (s\d)"', panel) == ["s0", "s2"]
    hints = re.findall(r"<title>(test, [^<]*)", panel)
    assert hints == [f"test, epoch {n}: {loss:.3f}" for n, (_, loss) in enumerate(PUBLISHED)]
    (kept,) = re.findall(r'<line x1="([\d.]+)"[^>]*class="again"', panel)
    points = re.findall(r'<path d="M([^"]*)" class="line s2"', panel)[0].split("L")
    assert points[2].split()[0] == kept
    heights = [float(point.split()[1]) for point in points]
    assert heights[2] == max(heights), "lower is better, and lower"


def test_figure_and_words_of_a_training_stand_together_before_the_table() -> None:
    other = replace(row(Kept(50, 5.0)), model="oak tuned")
    found = [part.kind for part in parts([row(Kept(50, 5.0)), TrainingRow("plain"), other])]
    assert found == ["figure", "text", "figure", "text", "table"]
    assert list(parts([TrainingRow("plain")])) == []


def test_one_point_is_no_figure() -> None:
    assert [part.kind for part in parts([row(None, (2.0, 2.0))])] == ["table"]
