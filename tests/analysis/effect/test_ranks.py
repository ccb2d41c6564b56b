"""The primary contrasts by ranks: against scipy and known truth."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cbt_ray.analysis import Scores, Settings
from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.effect.ranks import Ranks, ranks, superiority
from tests.analysis.effect.test_signed_ranks import walsh
from tests.analysis.judge.raters import DEGENERATE, crowd
from tests.analysis.judge.reliability_truth import differences, no_arms, share, superior
from tests.analysis.tables import made_up

pytestmark = pytest.mark.slow

LEVEL = 0.95


def ranks_of(scores: Scores) -> Ranks:
    sessions = scores.sessions("plain", "judge")
    return ranks(sessions, levels(arms(sessions, Settings())), Settings())


def test_five_patients_cannot_be_significant_and_the_row_says_so() -> None:
    rows = made_up(
        lambda key, item: 3 + 4 * (key[1] == "tuned") + len(key[2]) % 3,
        models=("a", "b"),
        patients=("p", "pp", "ppp", "q", "qq"),
    )
    found = ranks_of(Scores.of(rows))
    for row in found.rows:
        assert (row.patients, row.smallest_p, row.p) == (5, 0.0625, 0.0625)
        assert row.p_adjusted == 0.125
        assert row.hodges_lehmann.low is None
        assert (
            "0.0625, 0.125 after Holm over 2 contrasts: this test cannot be significant at 0.05"
            in row.note
        )


def test_eight_patients_can() -> None:
    rows = made_up(patients=tuple("abcdefgh"))
    (row,) = ranks_of(Scores.of(rows)).rows
    assert (row.smallest_p, row.note) == (2**-7, None)


def test_ranks_stand_on_chain_means_of_the_primary_contrast() -> None:
    scores = crowd(patients=8)
    (row,) = ranks_of(scores).rows
    means = (
        scores.sessions("plain", "judge")
        .groupby(["factor:variant", "patient"])["total"]
        .mean()
        .unstack()
    )
    difference = means.loc["tuned"] - means.loc["instruct"]
    assert row.p == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)
    assert row.hodges_lehmann.value == pytest.approx(np.median(walsh(difference.to_numpy())))


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
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(shares), low, high))
    assert found.patients == 5


def test_tests_keep_their_level_and_intervals_theirs() -> None:
    ten = share(differences, 1500, 10)
    assert ten["signed ranks reject"] == pytest.approx(0.049, abs=0.016)
    assert ten["Hodges-Lehmann"] == pytest.approx(0.951, abs=0.016)
    assert share(differences, 300, 5)["signed ranks reject"] == 0
    assert share(superior, 600, 5) == pytest.approx({"probability of superiority": 0.95}, abs=0.03)
    assert share(no_arms, 300, 5)["Friedman rejects"] == pytest.approx(0.05, abs=0.035)


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_scores_end_in_a_reason(name: str) -> None:
    found = ranks_of(DEGENERATE[name])
    document = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert to_json(from_json(Ranks, document)) == document
    assert found.rows or found.reason == "no primary contrast"
    for row in found.rows:
        assert row.p is not None or row.reason
        assert row.hodges_lehmann.low is not None or row.hodges_lehmann.reason
        assert row.superiority.low is not None or row.superiority.reason
    assert found.friedman.p is not None or found.friedman.reason
