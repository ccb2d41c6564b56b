"""A headline that is no score: first screen, forest plot and tables are in its own units."""

from __future__ import annotations

from functools import cache

import pytest

from cbt_ray.analysis import Analysis, analyse
from cbt_ray.rating.measure import MeasureKind
from cbt_ray.report import render
from cbt_ray.report.answer import answers
from cbt_ray.report.effect_section import effects
from cbt_ray.report.forest import forest
from cbt_ray.report.part import Part
from cbt_ray.report.table import Table
from tests.analysis.effect.test_tally import FIRST, SECOND, rows, settings
from tests.analysis.tables import made_up
from tests.report.sample import sample

COUNTS = [3, 0, 5, 2, 1, 4, 0, 0, 2, 1], [0, 0, 1, 0, 0, 0, 0, 2, 0, 0]


@cache
def analysed(kind: MeasureKind) -> Analysis:
    if kind == "count":
        return analyse(rows(*COUNTS), settings("count", None))
    times = 100 if kind == "share" else 1
    sides = [[times * value for value in side] for side in (FIRST, SECOND)]
    return analyse(rows(*sides), settings(kind, times))


@pytest.mark.parametrize(
    ("kind", "estimate", "unit", "sentence"),
    [
        ("flag", "+0.500", "shares of sessions", "0.500 more of the sessions with tuned"),
        ("share", "+50.0", "points", "50.0 points higher with tuned"),
        ("count", "+1.50", "counts a session", "1.50 more a session with tuned"),
    ],
)
def test_the_first_screen_is_in_its_units(
    kind: MeasureKind, estimate: str, unit: str, sentence: str
) -> None:
    (answer,) = answers(analysed(kind))
    assert answer.estimate == estimate
    assert answer.unit.endswith(f", {unit}")
    assert answer.sentence.startswith(sentence)
    assert answer.test.startswith("p ")
    assert " df" not in answer.test
    drawn = forest(analysed(kind))
    assert all(f">{estimate} [" in str(panel) for panel in drawn.panels)


def test_its_interval_is_that_of_the_analysis() -> None:
    (row,) = analysed("flag").contrasts.primary.rows
    (answer,) = answers(analysed("flag"))
    minus = "\N{MINUS SIGN}"
    told = f"95% interval {row.low:.3f} to {row.high:.3f}".replace("-", minus)
    assert answer.interval == told


def table(parts: list[Part], id_: str) -> Table:
    return next(part for part in parts if isinstance(part, Table) and part.id == id_)


def test_arms_stand_in_a_table_of_their_own_even_where_it_is_the_only_outcome() -> None:
    found = table(list(effects(analysed("flag")).parts), "t-outcome-arms")
    assert [title for title, _ in found.head][-1] == "Mean of patients"
    assert [row.cells[-1].text for row in found.rows] == [
        "0.3 (0.0667 to 0.652)",
        "0.8 (0.444 to 0.975)",
    ]
    scored = effects(analyse(made_up()))
    assert not [part for part in scored.parts if getattr(part, "id", "") == "t-outcome-arms"]


def test_models_say_that_they_take_it_for_a_score() -> None:
    said = "The models treat the total, which is a flag, as a score"
    assert said in render(sample(rows(FIRST, SECOND), analysis=analysed("flag")), "none").html
    assert said not in render(sample(made_up()), "none").html


def test_nothing_was_done_by_nobody_and_the_page_still_has_an_interval() -> None:
    nobody = analyse(rows([0.0] * 10, [0.0] * 10), settings())
    (answer,) = answers(nobody)
    assert answer.interval == "95% interval \N{MINUS SIGN}0.308 to 0.308"
    assert answer.sentence.startswith("The same with tuned as with instruct.")
    assert "+nan" not in render(sample(rows([0.0], [0.0]), analysis=nobody), "none").html
