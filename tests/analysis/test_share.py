"""Intervals of shares and counts against independent calculations: statsmodels and scipy where the
patients are single trials, and published examples.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, chi2
from scipy.stats import t as student
from statsmodels.stats.contingency_tables import mcnemar as of_statsmodels
from statsmodels.stats.proportion import proportion_confint

from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.share import correlation, count, difference, mcnemar, share, sources

LEVEL = 0.95


def pairs(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Yes and no of pairs, by how many have which."""
    sizes = both, first, second, neither
    return np.repeat([1.0, 1, 0, 0], sizes), np.repeat([1.0, 0, 1, 0], sizes)


@pytest.mark.parametrize("patients", [2, 10, 100])
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.98, 1])
def test_of_single_trials_a_share_has_clopper_and_pearsons_interval(
    patients: int, part: float
) -> None:
    yes = round(part * patients)
    values = [1.0] * yes + [0.0] * (patients - yes)
    found = share(values, [1] * patients, LEVEL, trials=patients)
    assert (found.low, found.high) == pytest.approx(
        proportion_confint(yes, patients, method="beta"), abs=1e-12
    )
    exact = binomtest(yes, patients).proportion_ci(LEVEL, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_of_clusters_it_is_that_of_the_size_that_korn_and_graubard_give() -> None:
    yes, of = np.array([9.0, 2, 7, 4, 10, 1]), np.full(6, 10.0)
    p, trials = yes.sum() / of.sum(), 60
    deff = np.var(yes / of, ddof=1) / 6 / (p * (1 - p) / (trials - 1))
    known = min(sources(yes), sources(of - yes))
    size = trials / deff * (student.ppf(0.975, trials - 1) / student.ppf(0.975, known - 1)) ** 2
    size = max(6.0, size)
    found = share(yes, of, LEVEL, trials)
    assert 6 < trials / deff < trials
    assert (found.low, found.high) == pytest.approx(
        proportion_confint(p * size, size, method="beta"), abs=1e-9
    )


def test_clusters_that_agree_within_count_as_one_trial_each() -> None:
    yes = [10.0, 10, 0, 0, 10, 0, 0, 0]
    found = share(yes, [10] * 8, LEVEL, trials=80)
    assert (found.low, found.high) == pytest.approx(proportion_confint(3, 8, method="beta"))


def test_shares_of_any_value_in_the_middle_have_nearly_the_interval_by_t() -> None:
    values = np.array([0.48, 0.52, 0.5, 0.47, 0.53, 0.51, 0.49, 0.5])
    found = share(values, np.ones(8), LEVEL)
    half = student.ppf(0.975, 7) * values.std(ddof=1) / 8**0.5
    assert found.low == pytest.approx(values.mean() - half, abs=1e-3)
    assert found.high == pytest.approx(values.mean() + half, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("trials", [None, 200])
def test_where_nobody_or_everybody_did_it_each_patient_is_a_trial(
    value: float, trials: int | None
) -> None:
    found = share([20 * value] * 10, [20] * 10, LEVEL, trials)
    ends = proportion_confint(10 * value, 10, method="beta")
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)


def test_a_patient_without_a_trial_says_nothing() -> None:
    known = share([1, 0, 1], [2, 3, 1], LEVEL)
    assert share([1, 0, 0, 1], [2, 3, 0, 1], LEVEL) == known
    assert known.value == pytest.approx(2 / 6)


def test_what_is_off_by_rounding_alone_is_not_beyond_its_end() -> None:
    assert share([1 + 1e-15, 1.0, -1e-17], [1, 1, 1], LEVEL, 3) == share(
        [1, 1, 0], [1] * 3, LEVEL, 3
    )


@pytest.mark.parametrize(
    ("parts", "wholes", "reason"),
    [
        ([], [], "needs 2 patients, found 0"),
        ([1], [1], "needs 2 patients, found 1"),
        ([2, 0], [1, 1], "a part is less than none or more than its whole"),
        ([-1, 0], [1, 1], "a part is less than none or more than its whole"),
    ],
)
def test_what_has_no_interval_says_why(
    parts: list[float], wholes: list[float], reason: str
) -> None:
    found = share(parts, wholes, LEVEL)
    assert (found.low, found.high, found.reason) == (None, None, reason)


@pytest.mark.parametrize("events", [0, 1])
def test_of_single_events_a_count_has_garwoods_interval(events: int) -> None:
    """By the quantiles of chi squared, as Garwood printed them: of 0 events 0 to 3.689."""
    found = count([1.0] * events + [0.0] * (20 - events), LEVEL)
    low = chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    assert 20 * (found.low or 0) == pytest.approx(low, abs=1e-9)
    assert 20 * (found.high or 0) == pytest.approx(chi2.ppf(0.975, 2 * events + 2) / 2)


def test_counts_that_vary_more_than_poissons_have_a_wider_interval() -> None:
    even, uneven = count([3, 2, 4, 3, 1, 5, 3, 3], LEVEL), count([0, 0, 12, 0, 0, 9, 3, 0], LEVEL)
    assert even.value == uneven.value == 3
    assert (uneven.low or 0) < (even.low or 0) < 3 < (even.high or 0) < (uneven.high or 0)


def test_large_counts_have_nearly_the_interval_by_t() -> None:
    values = np.array([312.0, 290, 305, 300, 298, 295, 304, 296])
    found, half = count(values, LEVEL), student.ppf(0.975, 7) * values.std(ddof=1) / 8**0.5
    assert found.low == pytest.approx(values.mean() - half, rel=2e-3)
    assert found.high == pytest.approx(values.mean() + half, rel=2e-3)


def test_where_all_patients_have_the_same_count_its_events_are_poissons() -> None:
    found = count([20, 20, 20], LEVEL)
    assert 3 * (found.low or 0) == pytest.approx(chi2.ppf(0.025, 120) / 2)
    assert 3 * (found.high or 0) == pytest.approx(chi2.ppf(0.975, 122) / 2)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((59, 6, 16, 80), -0.1186, -0.0046),
        ((1, 1, 7, 12), -0.5069, -0.0256),
        ((36, 12, 2, 0), 0.0569, 0.3404),
    ],
)
def test_square_and_add_on_wilsons_intervals_is_newcombes_method_10(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    """The first as the R package contingencytables prints it (Fagerland, Lydersen & Laake 2017,
    Statistical Analysis of Contingency Tables, chapter 8); all by the formula of Newcombe 1998, in
    Wilson's intervals of statsmodels and phi of the four counts.
    """
    both, first, second, neither = table
    n, sides = sum(table), pairs(*table)
    ends = [proportion_confint(side.sum(), n, method="wilson") for side in sides]
    a, b = (Estimate(float(s.mean()), *e) for s, e in zip(sides, ends, strict=True))
    found = difference(a, b, correlation(*sides, trials=n))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)

    cross: float = both * neither - first * second
    cross = max(cross - n / 2, 0) if cross > 0 else cross
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    assert correlation(*sides, trials=n) == pytest.approx(cross / margins**0.5)


def test_pairs_that_all_agree_still_leave_an_interval_of_some_width() -> None:
    first, second = pairs(5, 0, 0, 5)
    a, b = (share(side, np.ones(10), LEVEL, 10) for side in (first, second))
    found = difference(a, b, correlation(first, second, trials=10))
    assert found.low == pytest.approx(-found.high)
    assert 0.1 < found.high < 0.3


def test_a_difference_never_goes_beyond_its_ends() -> None:
    random = np.random.default_rng(3)
    for _ in range(300):
        rates = random.random(2) ** 4
        first, second = ((random.random(4) < rate).astype(float) for rate in rates)
        a, b = (share(side, np.ones(4), LEVEL, 4) for side in (first, second))
        found = difference(a, b, correlation(first, second, trials=4))
        assert -1 <= found.low < found.high <= 1


def test_a_difference_needs_both_intervals() -> None:
    with pytest.raises(ValueError, match="needs 2 patients, found 1"):
        difference(share([1], [1], LEVEL), share([1, 0], [1, 1], LEVEL), 0)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 3), (2, 12), (41, 20)])
def test_exact_mcnemar_is_that_of_statsmodels_and_of_scipy(first: int, second: int) -> None:
    found = mcnemar(first, second)
    assert found == mcnemar(second, first)
    assert found == pytest.approx(of_statsmodels([[5, first], [second, 9]], exact=True).pvalue)
    if first + second:
        assert found == pytest.approx(binomtest(first, first + second).pvalue)
