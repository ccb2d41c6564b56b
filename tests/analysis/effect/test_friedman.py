"""Friedman's test: against scipy, explicit enumeration and drawn permutations."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis.effect.friedman import friedman

pytestmark = pytest.mark.slow


def test_friedman_equals_scipys_and_is_near_its_chi_squared() -> None:
    cells = np.round(
        np.random.default_rng(6).normal(0, 1, (4, 12)) + np.array([0, 0, 0.3, 0.8])[:, None], 1
    )
    found = friedman(cells)
    expected = stats.friedmanchisquare(*cells)
    assert (found.statistic, found.p_chi2) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert found.w == pytest.approx(found.statistic / (12 * 3))


@pytest.mark.parametrize(("arms", "patients"), [(3, 2), (3, 4), (4, 3)])
def test_friedmans_permutations_are_all_counted(arms: int, patients: int) -> None:
    cells = np.random.default_rng(arms).normal(0, 1, (arms, patients)).round(1)
    found, ranked = friedman(cells), stats.rankdata(cells, axis=0)
    middle = patients * (arms + 1) / 2

    def apart(rows: tuple[tuple[float, ...], ...]) -> float:
        return float(np.square(np.sum(rows, axis=0) - middle).sum())

    every = [apart(rows) for rows in product(*(list(permutations(column)) for column in ranked.T))]
    assert found.exact is True
    assert found.p == pytest.approx(
        np.mean([one >= apart(tuple(map(tuple, ranked.T))) - 1e-9 for one in every])
    )


def test_friedmans_f_stands_in_where_permutations_are_too_many() -> None:
    cells = np.random.default_rng(2).normal(0, 1, (6, 12)) + np.linspace(0, 1, 6)[:, None]
    found, ranked = friedman(cells), stats.rankdata(cells, axis=0)
    drawn = (
        np.random.default_rng(1)
        .permuted(np.broadcast_to(ranked, (50_000, 6, 12)), axis=1)
        .sum(axis=2)
    )
    square = np.square(ranked.sum(axis=1) - 42).sum()
    assert found.exact is False
    assert found.p == pytest.approx(
        np.mean(np.square(drawn - 42).sum(axis=1) >= square - 1e-9), abs=0.006
    )
