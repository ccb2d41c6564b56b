"""The section on training: curves that are true to what was measured, marks, checks and files."""

from __future__ import annotations

import re

import pytest

from cbt_ray.report import CheckRow, Curves, FileRow, PairsRow, ReportData, TrainingRow
from cbt_ray.report.part import Fold, Pairs
from cbt_ray.report.prose import DASH, duration, listed, size
from cbt_ray.report.table import Table
from cbt_ray.report.training_section import MOST, curves, shown, training
from cbt_ray.training.measured import Kept
from cbt_ray.training.preference import PairFigures
from tests.report import study
from tests.report.sample import sample


def drawn(**measured: object) -> list[str]:
    """The panels of one training."""
    (figure,) = curves([TrainingRow("birch tuned", curves=Curves(**measured))])
    return [str(panel) for panel in figure.panels]


def lines(panel: str) -> list[list[tuple[float, float]]]:
    """The points of each piece of the panel's line."""
    pieces = re.findall(r'<path d="M([^"]*)" class="line s0">', panel)
    return [
        [(float(x), float(y)) for x, y in (point.split() for point in piece.split("L"))]
        for piece in pieces
    ]


def test_a_panel_for_each_measure_that_there_is() -> None:
    every = [(1, 2.0), (2, 1.0)]
    names = [
        re.findall(r"<title>([^<]*)", panel)[0]
        for panel in drawn(loss=every, memory_gib=every, grad_norm=[(1, None)])
    ]
    assert names == [
        "Training of birch tuned: loss over steps",
        "Training of birch tuned: memory over steps",
    ]
    assert len(drawn(loss=every, grad_norm=every, tokens_per_second=every, memory_gib=every)) == 4


def test_a_line_goes_through_what_was_measured() -> None:
    ((points,),) = [lines(panel) for panel in drawn(loss=[(0, 1.0), (50, 3.0), (100, 2.0)])]
    left, middle, right = points
    assert middle[0] - left[0] == pytest.approx(right[0] - middle[0])
    assert left[1] - middle[1] == pytest.approx(2 * (right[1] - middle[1])), "higher is up"


def test_a_step_without_a_finite_number_is_a_gap_and_counted() -> None:
    loss = [(1, 2.0), (2, 1.9), (3, None), (4, 1.8), (5, 1.7), (6, None), (7, 1.6)]
    (panel,) = drawn(loss=loss)
    assert [len(piece) for piece in lines(panel)] == [2, 2]
    assert panel.count('class="dot s0"') == 1, "a step between two gaps is a point"
    (figure,) = curves([TrainingRow("birch", curves=Curves(loss=loss))])
    assert "Steps without a finite loss: 2." in figure.caption


def test_every_panel_marks_where_a_later_run_went_on() -> None:
    every = [(step, 2.0 - step / 100) for step in range(1, 41)]
    panels = drawn(loss=every, grad_norm=every, resumed=[20, 20, 30])
    for panel in panels:
        assert re.findall(r"taken up again after step (\d+)", panel) == ["20", "30"]
        (at,) = re.findall(
            r'<line x1="([\d.]+)"[^>]*class="again"><title>taken up again after step 20<', panel
        )
        assert lines(panel)[0][19][0] == pytest.approx(float(at), abs=0.01)
    (figure,) = curves([TrainingRow("birch", curves=Curves(loss=every, resumed=[20, 20, 30]))])
    assert "went on from the checkpoint of step 20 and 30." in figure.caption


def test_a_long_training_is_drawn_as_means_with_their_range() -> None:
    (panel,) = drawn(loss=[(step, 2.0 + (step % 2)) for step in range(1, 10 * MOST + 1)])
    (piece,) = lines(panel)
    assert len(piece) == MOST
    assert {y for _, y in piece} == {piece[0][1]}, "the mean of tens of alternating steps is flat"
    (band,) = re.findall(r'<path d="M([^"]*)Z" class="area s0">', panel)
    heights = [float(point.split()[1]) for point in band.split("L")]
    assert min(heights) < piece[0][1] < max(heights)


def test_nothing_recorded_is_said() -> None:
    (figure,) = curves([TrainingRow("birch instruct")])
    assert figure.empty == "Not drawn: no loss curve is recorded."


def section_of(*rows: TrainingRow) -> tuple[dict[str, Table], dict[str, dict[str, object]]]:
    """Tables by id, folded pairs by title."""
    data: ReportData = sample([], analysis=study.analysis(), training=rows)
    parts = training(data).parts
    folds = {
        part.title: dict(pairs.pairs)
        for part in parts
        if isinstance(part, Fold)
        for pairs in part.parts
        if isinstance(pairs, Pairs)
    }
    return {part.id: part for part in parts if isinstance(part, Table)}, folds


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.rows]


def test_the_tables_say_what_was_measured() -> None:
    checks = [
        CheckRow("kl", True, 1.4e-6, 1e-5),
        CheckRow("tokens", False, {"equal": 19}, "20"),
        CheckRow("q8_0", None, [0.5, True]),
    ]
    files = [FileRow("model.gguf", "ab" * 32, 145_200_000)]
    row = TrainingRow(
        *("birch tuned", 40, [], Kept(20, 1.5), 41_000, 812.4, 2.84, 4210.0),
        checks=checks,
        files=files,
    )
    tables, folds = section_of(row, TrainingRow("birch instruct"))
    numbers = ["40", "1.5", "41\N{NARROW NO-BREAK SPACE}000", "812", "2.8", "1 h 10 min"]
    assert texts(tables["t-training"]) == [
        ["birch tuned", *numbers],
        ["birch instruct", *[DASH] * 6],
    ]
    assert [line[1:] for line in texts(tables["t-parity"])] == [
        ["kl", "passed", "1.4e-06", "1e-05"],
        ["tokens", "failed", "equal 19", "20"],
        ["q8_0", "reported", "0.5, yes", DASH],
    ]
    assert folds == {
        "Files of birch tuned, with their SHA-256": {"model.gguf": f"{'ab' * 32} (145.2 MB)"}
    }


def test_a_table_says_how_a_model_took_to_pairs() -> None:
    before, after = (
        PairsRow("held-out", 40, when, PairFigures(share, margin, -2.4, -2.04, 2.41, 0.095))
        for when, share, margin in (("before", 0.0, -1.61), ("after", 0.05, -0.36))
    )
    tables, _ = section_of(TrainingRow("birch tuned", 40, preference=[before, after]))
    assert [line[1:6] for line in texts(tables["t-preference"])] == [
        ["held-out", "40", "before", "0%", "\N{MINUS SIGN}1.610"],
        ["held-out", "40", "after", "5%", "\N{MINUS SIGN}0.360"],
    ]
    assert len(drawn(margin=[(1, -1.6), (2, -0.4)])) == 1


def test_without_checks_there_is_no_table_of_them() -> None:
    tables, _ = section_of(TrainingRow("birch tuned", 40))
    assert set(tables) == {"t-training"}


def test_times_sizes_and_lists_as_a_reader_meets_them() -> None:
    assert [duration(s) for s in (None, 0.4, 59.6, 200, 3599.6, 7500)] == [
        DASH,
        "0 s",
        "1 min 0 s",
        "3 min 20 s",
        "1 h 0 min",
        "2 h 5 min",
    ]
    assert [size(n) for n in (712, 1500, 145e6, 8.54e9)] == [
        "712 B",
        "1.5 kB",
        "145.0 MB",
        "8.5 GB",
    ]
    assert [listed(list(range(n))) for n in (0, 1, 2, 3)] == ["", "0", "0 and 1", "0, 1 and 2"]
    assert listed(list(range(20)), most=2) == "0, 1 and 18 more"
    values: tuple[object, ...] = (None, {}, [], "", 3, False)
    assert [shown(value) for value in values] == [
        DASH,
        DASH,
        DASH,
        DASH,
        "3",
        "no",
    ]
