"""Consistency, ends and halo: against independent calculations, hand-made tables and known
truth.
"""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from cbt_ray.analysis import Scores, Settings
from cbt_ray.analysis.document import to_json
from cbt_ray.analysis.judge.probe import ProbeRow
from cbt_ray.analysis.scale.consistency import consistency, feldt, omega
from cbt_ray.analysis.scale.scale import ItemEnds, ends, halo, rated_apart, scale
from tests.analysis.judge.raters import DEGENERATE, alone, crowd, drawn, judged
from tests.analysis.judge.reliability_truth import CHAINS_DIFFER, PUBLISHED, items, share
from tests.analysis.tables import ITEMS, made_up, published

pytestmark = pytest.mark.slow

LEVEL = 0.95
NAMES = ["a", "b", "c", "d", "e"]


def answers(seed: int = 1, n: int = 200) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(0, 1, (n, 1)) * [1.0, 0.8, 1.2, 0.5, 0.9] + random.normal(0, 1, (n, 5)) * [
        1.0,
        0.6,
        0.8,
        1.5,
        1.0,
    ]


def test_alpha_and_what_each_item_adds_by_hand() -> None:
    table = answers()
    found = consistency(table, alone(200), NAMES, LEVEL)

    def alpha(of: np.ndarray) -> float:
        k = of.shape[1]
        return float(k / (k - 1) * (1 - of.var(axis=0, ddof=1).sum() / of.sum(axis=1).var(ddof=1)))

    assert found.alpha.value == pytest.approx(alpha(table))
    for j, row in enumerate(found.items):
        rest = np.delete(table, j, axis=1)
        assert row.item == NAMES[j]
        assert row.alpha_if_deleted == pytest.approx(alpha(rest))
        assert row.corrected_r == pytest.approx(np.corrcoef(table[:, j], rest.sum(axis=1))[0, 1])


def test_omega_is_the_least_squares_factor_and_finds_known_loadings() -> None:
    loadings, own = np.array([0.9, 0.8, 0.7, 1.1, 0.5]), np.array([0.5, 1.0, 0.7, 0.4, 1.2])
    exact = omega(np.outer(loadings, loadings) + np.diag(own))
    assert exact.value == pytest.approx(
        loadings.sum() ** 2 / (loadings.sum() ** 2 + own.sum()), abs=1e-6
    )
    covariance = np.cov(answers(), rowvar=False)

    def lose(values: np.ndarray) -> float:
        rest = covariance - np.outer(values, values)
        return float(np.square(rest - np.diag(np.diag(rest))).sum())

    fitted = np.abs(optimize.minimize(lose, np.ones(5), tol=1e-14).x)
    unique = np.diag(covariance) - fitted**2
    found = omega(covariance)
    assert found.value == pytest.approx(
        fitted.sum() ** 2 / (fitted.sum() ** 2 + unique.sum()), abs=1e-6
    )
    assert found.loadings == pytest.approx(list(fitted / np.sqrt(np.diag(covariance))), abs=1e-5)


def test_omega_equals_alpha_where_all_items_load_alike_and_exceeds_it_elsewhere() -> None:
    alike = np.full((4, 4), 0.6) + np.diag([0.4] * 4)
    assert omega(alike).value == pytest.approx(4 / 3 * (1 - 4 / alike.sum()))
    found = consistency(answers(), alone(200), NAMES, LEVEL)
    assert found.omega.value > found.alpha.value


def test_omega_says_where_one_factor_cannot_be_fitted() -> None:
    assert omega(np.eye(2)).reason == "one factor needs 3 items or more, found 2"
    assert omega(np.diag([1.0, 1.0, 0.0])).reason == "an item does not vary"
    heywood = np.array([[1, 0.9, 0.9], [0.9, 1, 0.5], [0.9, 0.5, 1]])
    assert "Heywood" in omega(heywood).reason
    assert omega(np.ones((3, 3))).value == pytest.approx(1.0)


def test_feldt_covers_on_independent_rows() -> None:
    random, hits, alpha = np.random.default_rng(3), 0, 5 * 0.5 / (5 * 0.5 + 1.0)
    for _ in range(2000):
        table = random.normal(0, 0.5**0.5, (30, 1)) + random.normal(0, 1, (30, 5))
        covariance = np.cov(table, rowvar=False)
        found = feldt(5 / 4 * (1 - np.trace(covariance) / covariance.sum()), 30, 5, LEVEL)
        assert found is not None
        hits += found.low <= alpha <= found.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("variances", [PUBLISHED, CHAINS_DIFFER])
def test_interval_of_alpha_holds_on_sessions_of_chains(variances: tuple[float, float]) -> None:
    found = share(items, 800, 6, 5, variances)
    assert [found["alpha"], found["alpha of chain means"]] == pytest.approx([0.95, 0.95], abs=0.03)
    if variances == CHAINS_DIFFER:
        assert found["alpha by Feldt"] < 0.8


def test_consistency_stands_on_session_rows_and_on_chain_means() -> None:
    scores = crowd()
    found = scale(scores, Settings()).consistency
    assert (found.sessions.n, found.chains.n) == (60, 10)
    sessions = scores.sessions("plain", "judge")
    means = sessions.groupby("chain")[[f"item:{item}" for item in ITEMS]].mean()
    expected = 3 / 2 * (1 - means.var(ddof=1).sum() / means.sum(axis=1).var(ddof=1))
    assert found.chains.alpha.value == pytest.approx(expected)


def test_ends_count_every_rating_at_both_kinds_of_ends() -> None:
    rows = made_up(
        lambda key, item: 7 if item == "agenda" and key[3] < 3 else 2 + key[3],
        replicates=2,
        sessions=4,
    )
    scores = Scores.of(
        [*rows, replace(rows[0], session_key="x", rated=False, reason="owed", items={}, total=None)]
    )
    settings = Settings(lowest=3, highest=7, titles={"agenda": "Setting of the agenda"})
    (agenda, feedback, _) = ends(scores.of_judge("plain", "judge"), list(ITEMS), settings)
    values = Counter(row.items["agenda"] for row in rows)
    assert values == {7: 16, 5: 8, 6: 8}
    assert agenda == ItemEnds(
        item="agenda",
        n=32,
        observed_min=5,
        observed_max=7,
        floor=0.0,
        ceiling=0.5,
        at_observed_min=0.25,
        at_observed_max=0.5,
        flagged=False,
    )
    assert (feedback.floor, feedback.at_observed_min) == (0.25, 0.25)


def test_an_item_above_half_at_one_end_is_flagged_and_named() -> None:
    rows = made_up(
        lambda key, item: 7 if item == "agenda" and key[3] < 3 else 2 + key[3], sessions=3
    )
    result = scale(Scores.of(rows), Settings(titles={"agenda": "Setting of the agenda"}))
    assert [row.item for row in result.ends if row.flagged] == ["agenda"]
    (notice,) = result.notices
    assert notice.id == "crowded"
    assert "1 of 3 items" in notice.text
    assert "Setting of the agenda" in notice.text


def test_published_ceiling() -> None:
    scores = Scores.of(published())
    result = scale(scores, Settings())
    flagged = {row.item: round(row.at_observed_max, 3) for row in result.ends if row.flagged}
    assert len(result.ends) == 11
    assert {row.observed_max for row in result.ends} == {7}
    assert len(flagged) == 4
    assert max(flagged, key=lambda item: flagged[item]) == "Interpersonal Effectiveness"
    assert result.consistency.sessions.alpha.value == pytest.approx(0.909, abs=5e-4)
    assert result.halo.headline.alike == 14


def test_halo_within_arms_by_hand() -> None:
    scores = crowd(human=False)
    own = scores.of_judge("plain", "judge")
    names = [f"item:{item}" for item in ITEMS]
    whole = halo(own, ITEMS)
    found = whole.headline
    rest = own[names] - own.groupby("arm")[names].transform("mean")
    correlation = np.corrcoef(rest.to_numpy().T)
    assert found.mean_correlation == pytest.approx(correlation[np.triu_indices(3, 1)].mean())
    assert found.first_eigenvalue_share == pytest.approx(np.linalg.eigvalsh(correlation).max() / 3)
    assert found.within_rating_sd == pytest.approx(own[names].std(axis=1, ddof=1).mean())
    assert found.alike == (own[names].nunique(axis=1) == 1).sum()
    assert whole.reason == "items were rated one way only"


def test_arms_that_differ_are_no_halo() -> None:
    random = np.random.default_rng(4)
    rows = made_up(
        lambda key, item: int(random.integers(1, 4)) + 6 * (key[1] == "tuned"),
        patients=("p1", "p2"),
        sessions=60,
    )
    frame = Scores.of(rows).of_judge("plain", "judge")
    assert abs(halo(frame, ITEMS).headline.mean_correlation) < 0.15
    assert frame[["item:agenda", "item:feedback"]].corr().iloc[0, 1] > 0.8


def test_one_impression_given_eleven_times() -> None:
    rows = made_up(lambda key, item: 1 + (key[3] + len(key[2])) % 5, sessions=6)
    found = halo(Scores.of(rows).of_judge("plain", "judge"), ITEMS).headline
    assert (found.share_alike, found.first_eigenvalue_share) == (1.0, pytest.approx(1.0))


def test_items_rated_apart_stand_beside_the_same_sessions_rated_together() -> None:
    random = np.random.default_rng(5)
    together = made_up(
        lambda key, item: 1 + (key[3] * 7 + len(key[2])) % 9, patients=("p1", "p2"), sessions=20
    )
    probes = [
        ProbeRow(
            **{
                name: getattr(row, name)
                for name in (
                    "session_key",
                    "arm",
                    "patient",
                    "replicate",
                    "session",
                )
            },
            kind=row.factors["variant"],
            probe=probe,
            items={item: int(random.integers(1, 10)) for item in ITEMS},
            reason=reason,
        )
        for row in together[::2]
        for probe, reason in (("halo", None), ("empty", None), ("halo", "nothing_to_rate"))
    ]
    frame = rated_apart(probes)
    assert len(frame) == 40
    found = scale(Scores.of(together), Settings(), apart=frame).halo
    usual, other = found.usual, found.other
    assert (found.sessions, usual.n, other.n) == (40, 40, 40)
    assert usual.mean_correlation == pytest.approx(1.0)
    assert abs(other.mean_correlation) < 0.3
    assert (
        scale(Scores.of(together), Settings(), apart=rated_apart([])).halo.reason
        == "items were rated one way only"
    )


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_scores_end_in_a_reason(name: str) -> None:
    result = scale(DEGENERATE[name], Settings())
    document = to_json(result)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for row in (result.consistency.sessions, result.consistency.chains):
        assert row.reason or row.alpha.value is not None
    assert result.halo.headline.reason or result.halo.headline.n


def test_the_headline_judge_alone_is_described() -> None:
    rows = made_up(sessions=4)
    scores = Scores.of(
        judged(rows, "judge", "model", drawn(1))
        + judged(rows, "other", "model", lambda row, item: 10)
    )
    result = scale(scores, Settings())
    assert all(row.n == len(rows) for row in result.ends)
    assert (
        scale(scores, Settings(judge="other")).consistency.sessions.reason
        == "the total does not vary"
    )
    assert (
        stats.mode([row.observed_max for row in scale(scores, Settings(judge="other")).ends]).mode
        == 10
    )
