"""Repeatability of a judge and agreement between judges: against textbook tables, independent
calculations and known truth.
"""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cbt_ray.analysis import Scores, Settings
from cbt_ray.analysis.document import to_json
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.judge.icc import one_way, two_way
from cbt_ray.analysis.judge.jackknife import FEWEST, Clusters, estimate, plain
from cbt_ray.analysis.judge.judges import mean
from cbt_ray.analysis.judge.reliability import reliability
from tests.analysis.judge.raters import (
    DEGENERATE,
    SHROUT_FLEISS,
    alone,
    crowd,
    drawn,
    folded,
    judged,
)
from tests.analysis.judge.reliability_truth import (
    CHAINS_DIFFER,
    PUBLISHED,
    mcgraw_wong,
    random_judges,
    repeatability,
    share,
    two_judges,
)
from tests.analysis.tables import made_up

pytestmark = pytest.mark.slow

HOLDS = pytest.approx(0.95, abs=0.03)
LEVEL = 0.95


def test_shrout_and_fleiss_table_of_six_targets_and_four_judges() -> None:
    once = one_way(folded(SHROUT_FLEISS.tolist()), alone(6), LEVEL)
    both = two_way(SHROUT_FLEISS, alone(6), LEVEL)
    found = [
        once.single,
        both.icc2_1,
        both.icc3_1,
        once.average,
        both.icc2_k,
        both.icc3_k,
    ]
    assert [round(one.value, 2) for one in found] == [0.17, 0.29, 0.71, 0.44, 0.62, 0.91]
    # The intervals that R's psych prints for this table.
    exact = once.independent
    assert (round(exact.low, 2), round(exact.high, 2)) == (-0.13, 0.72)
    other = mcgraw_wong(SHROUT_FLEISS)
    assert [round(end, 2) for end in (other.value, other.low, other.high)] == [0.29, 0.02, 0.76]


def unbalanced(seed: int = 3, sessions: int = 40) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [
        list(random.normal(5, 2) + random.normal(0, 1, random.integers(1, 5)))
        for _ in range(sessions)
    ]


def test_unbalanced_one_way_analysis_of_variance_by_hand() -> None:
    ratings = unbalanced()
    flat, k = np.concatenate(ratings), np.array([len(own) for own in ratings])
    within = sum(((np.array(own) - np.mean(own)) ** 2).sum() for own in ratings) / (
        len(flat) - len(k)
    )
    f = stats.f_oneway(*ratings).statistic
    typical = (len(flat) - (k**2).sum() / len(flat)) / (len(k) - 1)
    found = one_way(folded(ratings), alone(len(k)), LEVEL)
    assert found.single.value == pytest.approx((f - 1) / (f + typical - 1))
    assert found.within_session_sd.value == pytest.approx(within**0.5)
    assert found.k == pytest.approx(stats.hmean(k))
    assert (found.sessions, found.ratings, found.repeated) == (
        40,
        len(flat),
        (k > 1).sum(),
    )


def test_balanced_one_way_agrees_with_reml_of_statsmodels() -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    random = np.random.default_rng(5)
    table = random.normal(0, 2, (60, 1)) + random.normal(0, 1, (60, 3))
    fit = statsmodels.MixedLM(table.ravel(), np.ones((180, 1)), np.repeat(np.arange(60), 3)).fit(
        reml=True
    )
    between, within = float(fit.cov_re[0, 0]), fit.scale
    found = one_way(folded(table.tolist()), alone(60), LEVEL)
    assert found.single.value == pytest.approx(between / (between + within), abs=1e-4)
    assert found.within_session_sd.value == pytest.approx(within**0.5, abs=1e-4)


def test_f_interval_for_unequal_replicates_is_exact_at_both_ends() -> None:
    ratings = unbalanced()
    k, means = np.array([len(own) for own in ratings]), np.array([np.mean(own) for own in ratings])
    free = k.sum() - len(k)
    within = sum(((np.array(own) - np.mean(own)) ** 2).sum() for own in ratings) / free
    exact = one_way(folded(ratings), alone(len(k)), LEVEL).independent
    for icc, tail in ((exact.low, 0.025), (exact.high, 0.975)):
        weight = 1 / (icc / (1 - icc) + 1 / k)  # of a mean with this ratio of variances
        middle = (weight * means).sum() / weight.sum()
        f = (weight * (means - middle) ** 2).sum() / (len(k) - 1) / within
        assert stats.f.sf(f, len(k) - 1, free) == pytest.approx(tail, abs=1e-6)


def test_two_way_mean_squares_by_hand() -> None:
    table = (
        np.random.default_rng(6).normal(0, 1, (30, 3))
        + np.random.default_rng(7).normal(0, 2, (30, 1))
        + [0, 1, 3]
    )
    n, k = table.shape
    covariance = np.cov(table, rowvar=False)
    shared, own = (
        (covariance.sum() - np.trace(covariance)) / (k * (k - 1)),
        np.trace(covariance) / k,
    )
    found = two_way(table, alone(n), LEVEL)
    assert found.icc3_1.value == pytest.approx(shared / own)
    judges = table.mean(axis=0).var(ddof=1) - (own - shared) / n
    assert found.icc2_1.value == pytest.approx(shared / (own + judges))


def test_cluster_interval_of_a_mean_is_t_on_chain_means_within_arms() -> None:
    random = np.random.default_rng(8)
    chain = np.repeat(np.arange(12), 4)
    values = random.normal(0, 1, 48) + random.normal(0, 1, 12)[chain] + 5 * (chain // 6)
    found = mean(values, Clusters(chain, chain // 6), LEVEL)
    means = values.reshape(2, 6, 4).mean(axis=2)
    parts = means.var(axis=1, ddof=1) / 6 / 4
    df = parts.sum() ** 2 / (parts**2 / 5).sum()
    half = stats.t.ppf(0.975, df) * parts.sum() ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx(
        (means.mean(), means.mean() - half, means.mean() + half)
    )


@pytest.mark.parametrize("variances", [PUBLISHED, CHAINS_DIFFER])
def test_intervals_hold_where_sessions_of_a_chain_are_alike(variances: tuple[float, float]) -> None:
    found = share(repeatability, 800, 6, 5, variances) | share(two_judges, 800, 6, 5, variances)
    naive = found.pop("ICC(1,1) by F")
    assert found == dict.fromkeys(found, HOLDS)
    if variances == CHAINS_DIFFER:
        assert naive < 0.8


def test_interval_for_judges_drawn_at_random_holds_where_the_usual_one_does_not() -> None:
    found = share(random_judges, 600, 3, 100, (1.0, 1.0, 0.5))
    assert found["ICC(2,1), 3 random judges"] == HOLDS
    assert found["by McGraw & Wong, 3 judges"] < 0.9


def test_section_of_a_crowd() -> None:
    result = reliability(crowd(), Settings())
    document = to_json(result)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    own, other, person = result.replicates
    assert (own.judge, own.total.sessions, own.total.ratings, own.total.k) == (
        "judge",
        60,
        120,
        2.0,
    )
    assert own.total.single.low < own.total.single.value < own.total.single.high
    assert list(other.items) == ["agenda", "feedback", "homework"]
    assert person.total.single.reason == "no session was rated more than once"
    between = result.judges
    assert (between.sessions, between.fixed, len(between.pairs)) == (20, True, 3)
    assert between.agreement.random_judges is None


def test_replicates_are_no_rows() -> None:
    once = crowd(replicates=1)
    rows = once.ratings
    copies = Scores(
        pd.concat(
            [rows, rows.assign(judge_replicate=2), rows.assign(judge_replicate=3)],
            ignore_index=True,
        )
    )
    one, three = (reliability(scores, Settings()) for scores in (once, copies))
    assert one.judges == three.judges
    assert one.humans == three.humans
    assert three.replicates[0].total.sessions == one.replicates[0].total.sessions == 60


def test_effects_of_judges_and_the_worst_case_is_named() -> None:
    rows = made_up(patients=("p1", "p2", "p3", "p4"), sessions=5)
    fair, harsh = drawn(1), drawn(2)
    found = judged(rows, "judge", "model", fair)
    found += judged(
        rows,
        "harsh",
        "model",
        lambda row, item: max(1.0, harsh(row, item) - 2 - (row.factors["variant"] == "tuned") * 3),
    )
    scores = Scores.of(found)
    between = reliability(scores, Settings()).judges
    effects, worst = between.effects, between.worst_case
    assert effects["judge"].value == -effects["harsh"].value > 0
    assert effects["judge"].low > 0
    (row,) = worst.rows
    assert (row.least, row.same_sign) == ("harsh", False)
    assert worst.least_favourable.judge == "harsh"
    least = next(one for one in row.judges if one.judge == "harsh")
    totals = (
        scores.sessions("plain", "harsh")
        .groupby(["factor:variant", "patient"])["total"]
        .mean()
        .unstack()
    )
    expected = stats.ttest_rel(totals.loc["tuned"], totals.loc["instruct"])
    assert least.estimate == pytest.approx(
        float((totals.loc["tuned"] - totals.loc["instruct"]).mean())
    )
    assert least.p == pytest.approx(expected.pvalue)


def test_five_judges_may_stand_for_others() -> None:
    between = reliability(crowd(judges=5, human=False, replicates=1), Settings()).judges
    assert between.fixed is False
    agreed = between.agreement
    drawn_at_random = agreed.random_judges
    assert drawn_at_random.icc2_1.low < agreed.icc2_1.low < agreed.icc2_1.value
    assert drawn_at_random.icc2_k.low < agreed.icc2_k.low < agreed.icc2_k.value


def test_judges_that_share_no_session() -> None:
    rows = made_up(patients=("p1", "p2", "p3"), sessions=4)
    found = judged([row for row in rows if row.session < 3], "judge", "model", drawn(1))
    found += judged([row for row in rows if row.session > 2], "other", "model", drawn(2))
    between = reliability(Scores.of(found), Settings()).judges
    assert (between.reason, between.agreement, between.effects) == (
        "no session was rated by all judges",
        None,
        {},
    )
    assert between.pairs[0].reason == "no session was rated by both"


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_scores_end_in_a_reason(name: str) -> None:
    result = reliability(DEGENERATE[name], Settings())
    document = to_json(result)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for row in result.replicates:
        _said(row.total.single)
    agreed = result.judges.agreement
    for found in (agreed.icc2_1, agreed.icc2_k, agreed.icc3_1, agreed.icc3_k) if agreed else ():
        _said(found)
    assert agreed or result.judges.reason


def _said(found: Estimate) -> None:
    assert found.reason or found.low < found.value < found.high


def test_perfect_repetition_is_one_and_has_no_interval() -> None:
    rows = made_up(replicates=2, patients=("p1", "p2", "p3", "p4"))
    total = reliability(Scores.of(rows), Settings()).replicates[0].total
    assert total.single.value == 1
    assert total.single.low is None
    assert total.single.reason
    assert total.within_session_sd.value == 0


def test_few_chains_give_a_value_without_an_interval() -> None:
    columns = np.ones((FEWEST - 1, 1)) * np.arange(FEWEST - 1)[:, None]
    clusters = alone(FEWEST - 1)
    found = estimate(lambda s: s[:, 0], clusters.sums(columns), LEVEL, plain(), "nothing")
    assert (found.value, found.low) == (6.0, None)
    assert found.reason == f"an interval needs {FEWEST} chains or more, found {FEWEST - 1}"
