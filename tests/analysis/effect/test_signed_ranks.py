"""Signed ranks: against scipy and explicit enumeration."""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis.effect import signed_ranks
from cbt_ray.analysis.effect.signed_ranks import flips, hodges_lehmann

pytestmark = pytest.mark.slow

LEVEL = 0.95


def gaps(n: int, seed: int = 1, shift: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, n)


@pytest.mark.parametrize("n", [3, 5, 8, 13, 20])
def test_signed_ranks_and_sign_flips_equal_scipys_exact_tests(n: int) -> None:
    found = flips(gaps(n))
    assert found.p == pytest.approx(stats.wilcoxon(gaps(n), method="exact").pvalue)
    assert found.exact is True
    if n <= 13:
        test = stats.permutation_test(
            (gaps(n),), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert found.p_differences == pytest.approx(test.pvalue)


def test_ties_and_zeros_are_flipped_as_they_are() -> None:
    values = np.array([1.0, 1.0, -1.0, 2.0, 0.0, 3.0, 3.0])
    found = flips(values)
    ranked = (
        np.sign(values)
        * np.append(stats.rankdata(np.abs(values[values != 0])), 0)[[0, 1, 2, 3, 6, 4, 5]]
    )
    sums = [abs(np.dot(signs, np.abs(ranked[ranked != 0]))) for signs in product([1, -1], repeat=6)]
    assert found.p == pytest.approx(np.mean([total >= abs(ranked.sum()) - 1e-9 for total in sums]))
    assert found.signed_rank == ranked[ranked > 0].sum()


@pytest.mark.parametrize("n", [21, 40, 100])
def test_more_patients_are_counted_on_a_grid(n: int) -> None:
    values = gaps(n, shift=0.3)
    found = flips(values)
    assert (found.exact, found.smallest_p) == (True, 2.0 ** (1 - n))
    assert found.p == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)
    signs = np.random.default_rng(n).choice([-1.0, 1.0], (100_000, n))
    assert found.p_differences == pytest.approx(
        np.mean(np.abs(signs @ values) >= abs(values.sum())), abs=0.005
    )


def test_the_grid_says_what_the_list_says(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = flips(gaps(18))
    monkeypatch.setattr(signed_ranks, "EXACT", 0)
    counted = flips(gaps(18))
    assert counted.p == pytest.approx(listed.p)
    assert counted.p_differences == pytest.approx(listed.p_differences, abs=2e-4)


def test_very_many_patients_are_as_good_as_normal() -> None:
    values = gaps(150, shift=0.15)
    found = flips(values)
    assert found.exact is False
    assert found.p == pytest.approx(stats.wilcoxon(values, method="exact").pvalue, abs=1e-3)


def walsh(values: np.ndarray) -> list[float]:
    return sorted((a + b) / 2 for a, b in combinations_with_replacement(values, 2))


@pytest.mark.parametrize("n", [6, 9, 15, 30])
def test_hodges_lehmann_from_the_list_of_all_means_of_two(n: int) -> None:
    values = gaps(n, seed=n)
    means, found = walsh(values), hodges_lehmann(values, LEVEL)
    assert found.value == pytest.approx(np.median(means))
    # Every shift inside the interval is accepted by the exact signed-rank test, every shift outside
    # is refused.
    for end, inside in ((found.low, 1), (found.high, -1)):
        assert stats.wilcoxon(values - end - inside * 1e-6, method="exact").pvalue > 1 - LEVEL
        assert stats.wilcoxon(values - end + inside * 1e-6, method="exact").pvalue <= 1 - LEVEL
    assert found.level >= LEVEL


def test_hodges_lehmann_of_very_many_patients_lists_nothing() -> None:
    values = np.round(gaps(300, seed=3), 1)
    means, found = walsh(values), hodges_lehmann(values, LEVEL)
    assert found.value == pytest.approx(np.median(means))
    shift = stats.norm.ppf(0.975) * (300 * 301 * 601 / 24) ** 0.5
    assert found.low == pytest.approx(means[int(len(means) / 2 - shift) - 1])
    assert hodges_lehmann(gaps(20_000), LEVEL).value == pytest.approx(0.4, abs=0.03)
