"""Slopes of chains and the words' row, against numpy and where the truth is known."""

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis import ScoreRow, analyse
from tests.analysis.effect.test_contrast import noisy
from tests.analysis.tables import made_up

pytestmark = pytest.mark.slow


def test_slopes_equal_least_squares_per_chain() -> None:
    rows = noisy(21, patients=("p1", "p2", "p3"), sessions=6)
    for name, first in (("all", 1), ("without_first", 2)):
        found = {row.arm: row for row in vars(analyse(rows).slopes)[name]}
        own = []
        for patient in ("p1", "p2", "p3"):
            chain = [
                (r.session, r.total)
                for r in rows
                if r.factors["variant"] == "tuned" and r.patient == patient and r.session >= first
            ]
            x, y = zip(*chain, strict=True)
            own.append(np.polyfit(x, y, 1)[0])
        expected = stats.ttest_1samp(own, 0)
        row = found["smollm2-tuned"]
        assert (row.slope, row.t, row.p) == tuple(
            map(pytest.approx, (np.mean(own), expected.statistic, expected.pvalue))
        )


def test_a_single_session_has_no_slope() -> None:
    row = analyse(made_up(sessions=1)).slopes.all[0]
    assert (row.slope, row.reason) == (None, "no chain with two rated sessions or more")


def longer(row: ScoreRow, random: np.random.Generator) -> ScoreRow:
    """Ten words more for each point, and some that say nothing."""
    return ScoreRow(
        **{**row.to_json(), "words": int(10 * (row.total or 0) + random.integers(0, 15))}
    )


def test_words_that_carry_the_whole_effect_take_it_away_and_are_labelled_not_causal() -> None:
    random = np.random.default_rng(3)
    rows = [
        longer(row, random)
        for row in made_up(
            lambda key, item: int(4 + 3 * (key[1] == "tuned") + random.integers(0, 3)),
            models=("a", "b"),
            patients=("p1", "p2", "p3"),
            sessions=8,
        )
    ]
    (words,) = analyse(rows).covariates
    assert words.label == "not causal"
    assert words.estimate / words.se > 10
    for contrast in words.contrasts:
        assert contrast.reml == pytest.approx(9, abs=1.5)
        assert abs(contrast.words_held_fixed) < 2


def test_words_that_are_all_alike_have_no_row() -> None:
    (words,) = analyse(made_up(sessions=4)).covariates
    assert words.estimate is None
    assert "the same for all sessions" in words.reason
