"""The candidates of a search on the page: all of them, and what the choice says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cbt_ray.report import CandidateRow
from cbt_ray.report.candidates import figure, parts, table, words
from cbt_ray.report.part import Text
from cbt_ray.training.measured import Kept, Point


def row(rate: float, *losses: tuple[float | None, float], kept: int = -1) -> CandidateRow:
    """A candidate with its held-out and test losses from epoch 0 on."""
    points = [
        Point(10 * n, float(n), {"train": 1.5, "held_out": held, "test": test})
        for n, (held, test) in enumerate(losses)
    ]
    at = points[kept]
    return CandidateRow("birch tuned", rate, 16, 2.0, points, Kept(at.step, at.epoch))


CHOSEN = replace(row(2e-4, (2.0, 2.1), (1.2, 1.3), (1.4, 1.5), kept=1), chosen=True)
OTHERS = [
    row(1e-4, (2.0, 2.1), (1.6, 1.6), (1.5, 1.55)),
    CandidateRow("birch tuned", 1.0, 16, 2.0, lost="diverged"),
]


def test_the_table_has_every_candidate_with_the_losses_of_what_it_keeps() -> None:
    owed = CandidateRow("birch tuned", 1e-5, 16, 0.5)
    cells = [[cell.text for cell in line.cells] for line in table([CHOSEN, *OTHERS, owed]).rows]
    none = ["\N{EN DASH}"] * 4
    assert cells == [
        ["birch tuned", "0.0002", "16", "2", "1", "1.500", "1.200", "1.300", "chosen"],
        ["birch tuned", "0.0001", "16", "2", "2", "1.500", "1.500", "1.550", ""],
        ["birch tuned", "1", "16", "2", *none, "diverged"],
        ["birch tuned", "1e-05", "16", "0.5", *none, "owed"],
    ]


def test_words_say_from_how_many_and_which_loss_is_too_good() -> None:
    assert words([CHOSEN, *OTHERS]) == (
        "Chosen from 3 candidates, 1 of which diverged: learning rate 0.0002, rank 16, 2 epochs, "
        "with the lowest held-out loss, 1.200. Being the lowest of several, that is too good a "
        "figure; its loss on test text, by which nothing was chosen, is not."
    )
    untested = replace(
        CHOSEN, measured=[replace(p, loss={"held_out": 1.2}) for p in OTHERS[0].measured]
    )
    assert words([untested, *OTHERS]).endswith("that is too good a figure.")
    assert words([CHOSEN]).endswith("with the lowest held-out loss, 1.200.")
    assert words(OTHERS) == "", "nothing is chosen yet"


def test_steps_that_end_a_training_leave_no_epochs_to_name() -> None:
    ended = replace(CHOSEN, epochs=None)
    assert ": learning rate 0.0002, rank 16, with the lowest" in words([ended])
    assert table([ended]).rows[0].cells[3].text == "\N{EN DASH}"


def test_the_figure_has_a_line_for_each_and_one_that_is_told_from_the_others() -> None:
    (panel,) = map(str, figure([CHOSEN, *OTHERS], 1).panels)
    assert re.findall(r'<path d="[^"]*" class="(line s0|patient)"', panel) == ["patient", "line s0"]
    assert re.findall(r"<title>(learning rate 0.0002[^<]*)", panel) == [
        f"learning rate 0.0002, rank 16, 2 epochs; epoch {n}: {loss:.3f}"
        for n, loss in enumerate((2.0, 1.2, 1.4))
    ]


@pytest.mark.parametrize(
    ("candidates", "kinds"),
    [
        ([], []),
        ([CHOSEN, *OTHERS], ["table", "figure", "text"]),
        ([CHOSEN, OTHERS[1]], ["table", "text"]),
        (OTHERS, ["table"]),
    ],
    ids=["no search", "all", "one curve", "not chosen yet"],
)
def test_parts_are_those_that_there_is_something_for(
    candidates: list[CandidateRow], kinds: list[str]
) -> None:
    found = list(parts(candidates))
    assert [part.kind if hasattr(part, "kind") else "table" for part in found] == kinds
    said = [part.content for part in found if isinstance(part, Text)]
    assert all(text.startswith("birch tuned: Chosen from ") for text in said)
