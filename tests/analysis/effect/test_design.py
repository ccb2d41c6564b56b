"""What a design finds: against the noncentral t of scipy and statsmodels, and simulated studies."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis.effect.design import (
    PUBLISHED,
    Design,
    grid,
    power_of,
    smallest,
    smallest_rows,
)

PAPER = Design(arms=6, family=3, patients=5, chains=1, sessions=20)


@pytest.mark.parametrize("df", [1, 4, 20, 500])
@pytest.mark.parametrize("shift", [0.0, 0.7, 2.5, 4.0])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3])
def test_power_is_that_of_the_noncentral_t(df: int, shift: float, alpha: float) -> None:
    critical = stats.t.ppf(1 - alpha / 2, df)
    expected = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
    assert power_of(3 * shift, 3.0, df, alpha) == pytest.approx(expected, abs=1e-5)


def test_smallest_difference_agrees_with_statsmodels() -> None:
    solver = pytest.importorskip("statsmodels.stats.power").TTestPower()
    for patients in (5, 10, 20):
        for wanted in (0.8, 0.9):
            effect = solver.solve_power(nobs=patients, alpha=0.05 / 3, power=wanted)
            found = smallest(PUBLISHED.chain / patients**0.5, patients - 1, 0.05 / 3, wanted)
            assert found == pytest.approx(effect * PUBLISHED.chain, rel=1e-4)


def test_nothing_to_find_without_degrees_of_freedom_or_variation() -> None:
    assert smallest(1.0, 0, 0.05, 0.8) is None
    assert smallest(0.0, 4, 0.05, 0.8) is None


@pytest.mark.parametrize("error", ["own", "pooled"])
def test_simulated_studies_find_the_smallest_difference_as_often_as_promised(error: str) -> None:
    random, studies = np.random.default_rng(1), 20_000
    row = next(
        row
        for row in smallest_rows(PAPER, PUBLISHED, 0.95)
        if (row.error_term, row.adjust, row.power) == (error, "holm", 0.8)
    )
    cell = random.standard_normal((studies, 6, 5)) * PUBLISHED.chain**0.5
    means = cell + (random.standard_normal((studies, 6, 5, 20)) * PUBLISHED.residual**0.5).mean(
        axis=-1
    )
    means[:, 0] += row.difference
    difference = means[:, 0] - means[:, 1]
    if error == "own":
        mean_square = difference.var(axis=1, ddof=1) / 2
    else:
        rest = (
            means
            - means.mean(axis=1, keepdims=True)
            - means.mean(axis=2, keepdims=True)
            + means.mean(axis=(1, 2), keepdims=True)
        )
        mean_square = np.square(rest).sum(axis=(1, 2)) / 20
    t = difference.mean(axis=1) / np.sqrt(2 * mean_square / 5)
    found = np.abs(t) > stats.t.ppf(1 - row.alpha / 2, row.df)
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_design_of_the_paper() -> None:
    rows = {
        (row.error_term, row.adjust, row.power): row
        for row in smallest_rows(PAPER, PUBLISHED, 0.95)
    }
    assert len(rows) == 8
    assert rows["own", "holm", 0.8].difference == pytest.approx(11.01, abs=0.01)
    assert (rows["own", "none", 0.8].df, rows["pooled", "none", 0.8].df) == (4, 20)
    assert rows["own", "holm", 0.8].alpha == 0.05 / 3
    assert rows["own", "none", 0.9].difference > rows["own", "none", 0.8].difference
    assert rows["own", "holm", 0.8].d == pytest.approx(11.014 / (6.49 + 101.21) ** 0.5, abs=1e-3)
    assert rows["own", "holm", 0.8].low is None  # the source's degrees of freedom are not known


def test_more_patients_beat_more_sessions_at_equal_cost() -> None:
    rows = [row for row in grid(PAPER, PUBLISHED, 0.95) if row.cost == 1]
    assert all(row.patients * row.sessions == 100 for row in rows)
    assert [row.patients for row in rows] == [2, 4, 5, 10, 20, 25, 50, 100]
    assert [row.own_80 for row in rows] == sorted(
        (row.own_80 for row in rows), key=float, reverse=True
    )
    five = next(row for row in rows if row.patients == 5)
    assert five.own_80 == pytest.approx(11.01, abs=0.01)
    assert {row.cost for row in grid(PAPER, PUBLISHED, 0.95)} == {1, 2, 4}


def test_variances_are_brought_to_a_scale_of_another_range() -> None:
    half = PUBLISHED.scaled(0.5)
    assert (half.chain, half.residual) == (PUBLISHED.chain / 4, PUBLISHED.residual / 4)
    assert "scaled by 0.5" in half.source


def test_level_decides_alpha() -> None:
    rows = smallest_rows(replace(PAPER, family=1), PUBLISHED, 0.9)
    assert {row.alpha for row in rows} == {0.1}
