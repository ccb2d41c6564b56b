"""Rank tests: against scipy, explicit enumeration and known truth."""

import json
from itertools import combinations_with_replacement, permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cbt_ray.analysis import Scores, Settings
from cbt_ray.analysis.effect import ranks
from cbt_ray.analysis.effect.ranks import flips, friedman, hodges_lehmann, superiority
from cbt_ray.analysis.scale.scale import scale
from tests.analysis.judge.raters import DEGENERATE, crowd
from tests.analysis.judge.reliability_truth import differences, no_arms, share, superior
from tests.analysis.tables import made_up

pytestmark = pytest.mark.slow

LEVEL = 0.95


def gaps(n: int, seed: int = 1, shift: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, n)


@pytest.mark.parametrize("n", [3, 5, 8, 13, 20])
def test_signed_ranks_and_sign_flips_equal_scipys_exact_tests(n: int) -> None:
    found = flips(gaps(n))
    assert found["p"] == pytest.approx(stats.wilcoxon(gaps(n), method="exact").pvalue)
    assert found["exact"] is True
    if n <= 13:
        test = stats.permutation_test(
            (gaps(n),), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert found["p_differences"] == pytest.approx(test.pvalue)


def test_ties_and_zeros_are_flipped_as_they_are() -> None:
    values = np.array([1.0, 1.0, -1.0, 2.0, 0.0, 3.0, 3.0])
    found = flips(values)
    ranked = (
        np.sign(values)
        * np.append(stats.rankdata(np.abs(values[values != 0])), 0)[[0, 1, 2, 3, 6, 4, 5]]
    )
    sums = [abs(np.dot(signs, np.abs(ranked[ranked != 0]))) for signs in product([1, -1], repeat=6)]
    assert found["p"] == pytest.approx(
        np.mean([total >= abs(ranked.sum()) - 1e-9 for total in sums])
    )
    assert found["signed_rank"] == ranked[ranked > 0].sum()


@pytest.mark.parametrize("n", [21, 40, 100])
def test_more_patients_are_counted_on_a_grid(n: int) -> None:
    values = gaps(n, shift=0.3)
    found = flips(values)
    assert (found["exact"], found["smallest_p"]) == (True, 2.0 ** (1 - n))
    assert found["p"] == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)
    signs = np.random.default_rng(n).choice([-1.0, 1.0], (100_000, n))
    assert found["p_differences"] == pytest.approx(
        np.mean(np.abs(signs @ values) >= abs(values.sum())), abs=0.005
    )


def test_the_grid_says_what_the_list_says(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = flips(gaps(18))
    monkeypatch.setattr(ranks, "EXACT", 0)
    counted = flips(gaps(18))
    assert counted["p"] == pytest.approx(listed["p"])
    assert counted["p_differences"] == pytest.approx(listed["p_differences"], abs=2e-4)


def test_very_many_patients_are_as_good_as_normal() -> None:
    values = gaps(150, shift=0.15)
    found = flips(values)
    assert found["exact"] is False
    assert found["p"] == pytest.approx(stats.wilcoxon(values, method="exact").pvalue, abs=1e-3)


def walsh(values: np.ndarray) -> list[float]:
    return sorted((a + b) / 2 for a, b in combinations_with_replacement(values, 2))


@pytest.mark.parametrize("n", [6, 9, 15, 30])
def test_hodges_lehmann_from_the_list_of_all_means_of_two(n: int) -> None:
    values = gaps(n, seed=n)
    means, found = walsh(values), hodges_lehmann(values, LEVEL)
    assert found["value"] == pytest.approx(np.median(means))
    # Every shift inside the interval is accepted by the exact signed-rank test, every shift outside
    # is refused.
    for end, inside in ((found["low"], 1), (found["high"], -1)):
        assert stats.wilcoxon(values - end - inside * 1e-6, method="exact").pvalue > 1 - LEVEL
        assert stats.wilcoxon(values - end + inside * 1e-6, method="exact").pvalue <= 1 - LEVEL
    assert found["level"] >= LEVEL


def test_hodges_lehmann_of_very_many_patients_lists_nothing() -> None:
    values = np.round(gaps(300, seed=3), 1)
    means, found = walsh(values), hodges_lehmann(values, LEVEL)
    assert found["value"] == pytest.approx(np.median(means))
    shift = stats.norm.ppf(0.975) * (300 * 301 * 601 / 24) ** 0.5
    assert found["low"] == pytest.approx(means[int(len(means) / 2 - shift) - 1])
    assert hodges_lehmann(gaps(20_000), LEVEL)["value"] == pytest.approx(0.4, abs=0.03)


def test_five_patients_cannot_be_significant_and_the_row_says_so() -> None:
    rows = made_up(
        lambda key, item: 3 + 4 * (key[1] == "tuned") + len(key[2]) % 3,
        models=("a", "b"),
        patients=("p", "pp", "ppp", "q", "qq"),
    )
    found = scale(Scores.of(rows), Settings())["ranks"]
    for row in found["rows"]:
        assert (row["patients"], row["smallest_p"], row["p"]) == (5, 0.0625, 0.0625)
        assert row["p_adjusted"] == 0.125
        assert row["hodges_lehmann"]["low"] is None
        assert (
            "0.0625, 0.125 after Holm over 2 contrasts: this test cannot be significant at 0.05"
            in row["note"]
        )


def test_eight_patients_can() -> None:
    rows = made_up(patients=tuple("abcdefgh"))
    (row,) = scale(Scores.of(rows), Settings())["ranks"]["rows"]
    assert (row["smallest_p"], row["note"]) == (2**-7, None)


def test_ranks_stand_on_chain_means_of_the_primary_contrast() -> None:
    scores = crowd(patients=8)
    (row,) = scale(scores, Settings())["ranks"]["rows"]
    means = (
        scores.sessions("plain", "judge")
        .groupby(["factor:variant", "patient"])["total"]
        .mean()
        .unstack()
    )
    difference = means.loc["tuned"] - means.loc["instruct"]
    assert row["p"] == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)
    assert row["hodges_lehmann"]["value"] == pytest.approx(np.median(walsh(difference.to_numpy())))


def test_superiority_is_the_mean_of_the_patients_mann_whitney_statistics() -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "arm": random.choice(["t", "c", "other"], 300),
            "patient": random.choice(list("abcde"), 300),
            "total": np.where(random.random(300) < 0.1, np.nan, random.integers(20, 40, 300)),
        }
    )
    shares = []
    for _, own in frame.dropna().groupby("patient"):
        t, c = (own.loc[own["arm"] == arm, "total"] for arm in ("t", "c"))
        shares.append(stats.mannwhitneyu(t, c).statistic / len(t) / len(c))
    found = superiority(frame, "t", "c", LEVEL)
    low, high = stats.t.interval(LEVEL, 4, np.mean(shares), stats.sem(shares))
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (np.mean(shares), low, high)
    )
    assert found["patients"] == 5


def test_friedman_equals_scipys_and_is_near_its_chi_squared() -> None:
    cells = np.round(
        np.random.default_rng(6).normal(0, 1, (4, 12)) + np.array([0, 0, 0.3, 0.8])[:, None], 1
    )
    found = friedman(cells)
    expected = stats.friedmanchisquare(*cells)
    assert (found["statistic"], found["p_chi2"]) == pytest.approx(
        (expected.statistic, expected.pvalue)
    )
    assert found["p"] == pytest.approx(expected.pvalue, abs=0.02)
    assert found["w"] == pytest.approx(found["statistic"] / (12 * 3))


@pytest.mark.parametrize(("arms", "patients"), [(3, 2), (3, 4), (4, 3)])
def test_friedmans_permutations_are_all_counted(arms: int, patients: int) -> None:
    cells = np.random.default_rng(arms).normal(0, 1, (arms, patients)).round(1)
    found, ranked = friedman(cells), stats.rankdata(cells, axis=0)
    middle = patients * (arms + 1) / 2

    def apart(rows: tuple[tuple[float, ...], ...]) -> float:
        return float(np.square(np.sum(rows, axis=0) - middle).sum())

    every = [apart(rows) for rows in product(*(list(permutations(column)) for column in ranked.T))]
    assert found["exact"] is True
    assert found["p"] == pytest.approx(
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
    assert found["exact"] is False
    assert found["p"] == pytest.approx(
        np.mean(np.square(drawn - 42).sum(axis=1) >= square - 1e-9), abs=0.006
    )


def test_tests_keep_their_level_and_intervals_theirs() -> None:
    ten = share(differences, 1500, 10)
    assert ten["signed ranks reject"] == pytest.approx(0.049, abs=0.016)
    assert ten["Hodges-Lehmann"] == pytest.approx(0.951, abs=0.016)
    assert share(differences, 300, 5)["signed ranks reject"] == 0
    assert share(superior, 600, 5) == pytest.approx({"probability of superiority": 0.95}, abs=0.03)
    assert share(no_arms, 300, 5)["Friedman rejects"] == pytest.approx(0.05, abs=0.035)


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_scores_end_in_a_reason(name: str) -> None:
    found = scale(DEGENERATE[name], Settings())["ranks"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["rows"] or found["reason"] == "no primary contrast"
    for row in found["rows"]:
        assert row["p"] is not None or row["reason"]
        assert row["hodges_lehmann"]["low"] is not None or row["hodges_lehmann"]["reason"]
        assert row["superiority"]["low"] is not None or row["superiority"]["reason"]
    assert found["friedman"]["p"] is not None or found["friedman"]["reason"]
