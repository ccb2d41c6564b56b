"""Weighted kappa, and agreement with people: against explicit tables, independent calculations and
known truth.
"""

import warnings
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis import Scores, Settings
from cbt_ray.analysis.judge import kappa
from cbt_ray.analysis.judge.agreement import POINTS, Humans, limits, thinned
from cbt_ray.analysis.judge.jackknife import TOO_FEW
from cbt_ray.analysis.judge.reliability import Reliability, reliability
from tests.analysis.judge.raters import alone, crowd, drawn, folded, judged
from tests.analysis.judge.reliability_truth import CHAINS_DIFFER, PUBLISHED, kappas, share
from tests.analysis.tables import made_up

pytestmark = pytest.mark.slow

LEVEL = 0.95


def by_table(pairs: list[tuple[int, int, float]], categories: range) -> float:
    """Weighted kappa from the whole table of the scale's categories, cell by cell."""
    observed = dict.fromkeys(product(categories, categories), 0.0)
    for a, b, weight in pairs:
        observed[a, b] += weight
    total = sum(observed.values())
    rows = {c: sum(observed[c, d] for d in categories) / total for c in categories}
    columns = {c: sum(observed[d, c] for d in categories) / total for c in categories}
    worst = (len(categories) - 1) ** 2
    disagreed = sum(weight / total * (a - b) ** 2 / worst for (a, b), weight in observed.items())
    chance = sum(rows[a] * columns[b] * (a - b) ** 2 / worst for a, b in observed)
    return 1 - disagreed / chance


def scored(seed: int, sessions: int, replicates: int) -> list[list[float]]:
    random = np.random.default_rng(seed)
    worth = np.random.default_rng(1).normal(5, 1.5, sessions)
    return [
        [
            float(np.clip(round(value), 1, 10))
            for value in worth[i] + random.normal(0, 1, replicates)
        ]
        for i in range(sessions)
    ]


@pytest.mark.parametrize("replicates", [1, 3])
def test_kappa_between_judges_equals_the_table_over_all_pairs_of_replicates(
    replicates: int,
) -> None:
    one, other = scored(2, 50, replicates), scored(3, 50, 2)
    pairs = [
        (int(a), int(b), 1.0)
        for own, theirs in zip(one, other, strict=True)
        for a, b in product(own, theirs)
    ]
    found = kappa.between(folded(one), folded(other), alone(50), LEVEL)
    assert found.value == pytest.approx(by_table(pairs, range(1, 11)))
    # The number of categories cancels out: the scale's whole range is implied.
    assert found.value == pytest.approx(by_table(pairs, range(0, 15)))


def test_kappa_of_replicates_equals_the_table_over_all_ordered_pairs() -> None:
    ratings = scored(4, 40, 3)
    pairs = [(int(a), int(b), 1.0) for own in ratings for a, b in permutations(own, 2)]
    assert kappa.within(folded(ratings), alone(40), LEVEL).value == pytest.approx(
        by_table(pairs, range(1, 11))
    )


def test_kappa_agrees_with_statsmodels_and_its_interval_where_sessions_are_independent() -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    one, other = scored(5, 800, 1), scored(6, 800, 1)
    table = np.zeros((10, 10))
    for (a,), (b,) in zip(one, other, strict=True):
        table[int(a) - 1, int(b) - 1] += 1
    expected = rater.cohens_kappa(table, weights=np.arange(10) ** 2, wt="toeplitz")
    found = kappa.between(folded(one), folded(other), alone(800), LEVEL)
    assert found.value == pytest.approx(expected.kappa)
    assert (found.low, found.high) == pytest.approx(
        (expected.kappa_low, expected.kappa_upp), abs=0.006
    )


@pytest.mark.slow
@pytest.mark.parametrize("variances", [PUBLISHED, CHAINS_DIFFER])
def test_interval_of_kappa_holds(variances: tuple[float, float]) -> None:
    found = share(kappas, 600, 6, 5, variances)
    assert found == dict.fromkeys(found, pytest.approx(0.95, abs=0.03))


def test_kappa_says_why_it_does_not_exist() -> None:
    same = folded([[3.0, 3.0]] * 8)
    assert kappa.between(same, same, alone(8), LEVEL).reason == kappa.ALIKE
    assert kappa.within(same, alone(8), LEVEL).reason == kappa.ALIKE
    assert (
        kappa.between(same, folded([[]] * 8), alone(8), LEVEL).reason
        == "no session was rated by both"
    )
    alike = folded([[float(i % 4)] for i in range(8)])
    perfect = kappa.between(alike, alike, alone(8), LEVEL)
    assert perfect.value == pytest.approx(1.0)
    assert perfect.low is None


def people(result: Reliability) -> Humans:
    return result.humans


def test_bias_and_limits_of_agreement_by_hand() -> None:
    scores = crowd()
    found = people(reliability(scores, Settings()))
    (row,) = found.raters
    own, theirs = (
        scores.sessions("plain", judge).set_index("session_key").total for judge in ("judge", "ann")
    )
    difference = (own - theirs).dropna()
    assert row.sessions == len(difference) == 20
    assert row.bias.value == pytest.approx(difference.mean())
    assert row.limits.upper.value == pytest.approx(
        difference.mean() + stats.norm.ppf(0.975) * difference.std(ddof=1)
    )
    assert row.bias.low < row.bias.value < row.bias.high
    assert sorted(point[1] for point in row.points) == pytest.approx(sorted(difference))


@pytest.mark.parametrize(
    ("noise", "calibrated", "said"),
    [
        (0.1, True, None),
        (
            1.5,
            False,
            "people may disagree with it, the interval of ICC(2,1) over 30 sessions begins at",
        ),
        (6.0, False, "people disagree with it, ICC(2,1)"),
    ],
)
def test_a_judge_is_calibrated_where_the_whole_interval_says_so(
    noise: float, calibrated: bool, said: str | None
) -> None:
    rows = made_up(patients=tuple(f"p{number}" for number in range(5)), sessions=3)
    found = judged(rows, "judge", "model", drawn(1, noise=0.1)) + judged(
        rows, "ann", "human", drawn(2, noise=noise)
    )
    result = reliability(Scores.of(found), Settings())
    icc = people(result).raters[-1].icc2_1
    assert people(result).calibrated is calibrated is (icc.low >= 0.5)
    assert people(result).reason is None if said is None else people(result).reason.startswith(said)
    assert bool(result.notices) is not calibrated


def test_without_people_the_judge_is_uncalibrated() -> None:
    result = reliability(crowd(human=False), Settings())
    assert people(result).available is False
    assert people(result).reason == "no person's ratings were imported"
    assert [notice.id for notice in result.notices] == ["uncalibrated"]


def test_people_who_rated_other_sessions_or_too_few_calibrate_nothing() -> None:
    rows = made_up(patients=("p1", "p2", "p3"), sessions=4)
    own = judged([row for row in rows if row.session > 1], "judge", "model", drawn(1))
    apart = judged([row for row in rows if row.session == 1], "ann", "human", drawn(2))
    few = judged(
        [row for row in rows if row.session == 2 and row.patient == "p1"], "ann", "human", drawn(2)
    )
    for theirs, available in ((apart, False), (few, True)):
        result = reliability(Scores.of(own + theirs), Settings())
        assert (people(result).available, people(result).calibrated) == (available, False)
        assert [notice.id for notice in result.notices] == ["uncalibrated"]


def test_people_who_disagree_are_a_notice() -> None:
    rows = made_up(patients=("p1", "p2", "p3", "p4"), sessions=5)
    upside_down = drawn(1, noise=0.1)
    theirs = judged(rows, "ann", "human", lambda row, item: 11 - upside_down(row, item))
    result = reliability(
        Scores.of(judged(rows, "judge", "model", drawn(2, noise=0.1)) + theirs), Settings()
    )
    assert [notice.id for notice in result.notices] == ["people_disagree"]


def test_a_headline_by_people_needs_no_calibration() -> None:
    result = reliability(crowd(), Settings(judge="ann"))
    assert people(result).calibrated is True
    assert result.notices == []


def test_several_people_are_also_taken_together_and_counted_alike() -> None:
    rows = made_up(patients=("p1", "p2", "p3"), sessions=4)
    found = judged(rows, "judge", "model", drawn(1))
    found += judged(rows, "ann", "human", drawn(2)) + judged(rows[::2], "bob", "human", drawn(3))
    result = people(reliability(Scores.of(found), Settings()))
    assert [(row.rater, row.people) for row in result.raters] == [
        ("ann", 1),
        ("bob", 1),
        ("all people", 2),
    ]
    scores = Scores.of(found)
    own, ann, bob = (
        scores.sessions("plain", judge).set_index("session_key").total
        for judge in ("judge", "ann", "bob")
    )
    both = (ann + bob.reindex(ann.index)) / 2
    assert result.raters[2].bias.value == pytest.approx(float((own - both.fillna(ann)).mean()))


def test_points_are_thinned_evenly_and_keep_both_ends() -> None:
    random = np.random.default_rng(7)
    middle, difference = random.normal(50, 10, 5000), random.normal(0, 3, 5000)
    points = np.array(thinned(middle, difference))
    assert len(points) == POINTS
    assert (points[0, 0], points[-1, 0]) == (middle.min(), middle.max())
    assert np.quantile(points[:, 0], [0.25, 0.5, 0.75]) == pytest.approx(
        np.quantile(middle, [0.25, 0.5, 0.75]), abs=0.2
    )


def test_limits_need_two_sessions() -> None:
    assert limits(np.array([1.0]), alone(1), LEVEL) is None


def test_one_session_says_nothing_of_agreement() -> None:
    rows = made_up(patients=("p1", "p2"), sessions=2)
    once = judged(rows[:1], "ann", "human", lambda *_: 3)
    twice = [replace(row, judge="bo", judge_replicate=number) for number in (1, 2) for row in once]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reliability(Scores.of([*rows, *once, *twice]), Settings())
    own = {row.judge: row.total for row in found.replicates}["bo"]
    people = next(row for row in found.humans.raters if row.rater == "ann")
    estimates = [own.single, own.average, own.within_session_sd]
    for estimate in (*estimates, people.icc2_1, people.icc3_1, *people.kappa.values()):
        assert (estimate.value, estimate.reason) == (None, TOO_FEW)
