"""Flags, shares and counts of two arms, from session rows to the contrast: against statsmodels, by
hand, and in simulated studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scipy.stats import t as student
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from cbt_ray.analysis import Analysis, ScoreRow, Settings, analyse
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.effect.family import TotalEffect
from cbt_ray.analysis.schema import analysis_schema
from cbt_ray.analysis.settings import ItemKind, Outcome
from cbt_ray.rating.measure import MeasureKind
from tests.analysis.effect import tally_studies
from tests.analysis.tables import made_up

YES, NO = [1.0] * 10, [0.0] * 10
FIRST, SECOND = [1.0] * 8 + [0.0] * 2, [1.0] * 2 + [0.0] * 7 + [1.0]
"""Of ten patients: two in both arms, six in the first alone, one in the second alone."""


def rows(
    first: Sequence[float], second: Sequence[float], sessions: int = 1, seeds: int = 1
) -> list[ScoreRow]:
    """A value of each patient in the tuned arm and in the instruct one, in every session."""
    patients = [f"p{number:03}" for number in range(len(first))]
    found = []
    for row in made_up(patients=patients, sessions=sessions):
        tuned, place = row.factors["variant"] == "tuned", patients.index(row.patient)
        value = (first if tuned else second)[place]
        for seed in range(1, seeds + 1) if tuned and seeds > 1 else [0]:
            key = f"{row.session_key}/{seed}"
            own = {"session_key": key, "seed": seed, "total": value, "items": {"it": value}}
            found.append(replace(row, **own, measures={"it": value}))
    return found


def settings(kind: MeasureKind = "flag", high: float | None = 1, **changes: Any) -> Settings:
    known = {"it": ItemKind(kind, 0, high)}
    return Settings(items=("it",), kind=kind, total=(0, high), item_kinds=known, **changes)


def contrast(analysis: Analysis) -> TotalEffect:
    (row,) = analysis.contrasts.primary.rows
    return row


def compared(
    first: Sequence[float], second: Sequence[float], own: Settings | None = None, sessions: int = 1
) -> TotalEffect:
    return contrast(analyse(rows(first, second, sessions), own or settings()))


def test_a_flag_in_one_session_has_exact_mcnemar_and_square_and_add() -> None:
    row = compared(FIRST, SECOND)
    assert row.estimate == pytest.approx(0.5)
    assert row.p == pytest.approx(mcnemar([[2, 6], [1, 1]], exact=True).pvalue)
    assert "exact McNemar, 6 to 1 of the pairs that differ" in str(row.method)
    (low, high), (least, most) = (proportion_confint(n, 10, method="beta") for n in (8, 3))
    phi = (2 * 1 - 6 * 1) / (8 * 2 * 3 * 7) ** 0.5
    down, up = ((0.8 - low, most - 0.3), (high - 0.8, 0.3 - least))
    ends = [(a * a - 2 * phi * a * b + b * b) ** 0.5 for a, b in (down, up)]
    assert (row.low, row.high) == pytest.approx((0.5 - ends[0], 0.5 + ends[1]))
    assert (row.t, row.df, row.pooled, row.d) == (None, None, None, None)


@pytest.mark.parametrize("same", [YES, NO])
def test_where_all_are_alike_the_interval_is_that_of_one_trial_a_patient(
    same: list[float],
) -> None:
    row, high = compared(same, same), proportion_confint(0, 10, method="beta")[1]
    assert (row.estimate, row.p) == (0, 1)
    assert (row.low, row.high) == pytest.approx((-high, high))


def test_the_largest_difference_does_not_go_beyond_the_end() -> None:
    row = compared(YES, NO)
    assert (row.estimate, row.high) == (1, 1)
    assert 0.5 < (row.low or 0) < 1
    assert row.p == pytest.approx(2 * 0.5**10)


def test_sessions_that_only_repeat_their_patient_tell_nothing_new() -> None:
    once, often = compared(FIRST, SECOND), compared(FIRST, SECOND, sessions=4)
    assert often.sessions == (40, 40)
    arms = [
        [arm.estimate for arm in analyse(rows(FIRST, SECOND, n), settings()).outcomes[0].arms]
        for n in (1, 4)
    ]
    assert arms[0] == arms[1]
    assert "the interval that reaches zero" in str(often.method)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_p_is_the_level_at_which_the_interval_reaches_zero() -> None:
    row = compared(FIRST, SECOND, sessions=2)
    assert row.p is not None
    at = compared(FIRST, SECOND, settings(level=1 - row.p), sessions=2)
    assert at.low == pytest.approx(0, abs=1e-6)
    swapped = compared(SECOND, FIRST, sessions=2)
    assert swapped.p == pytest.approx(row.p)
    assert (swapped.low, swapped.high) == pytest.approx((-(row.high or 0), -(row.low or 0)))


def test_a_percentage_is_a_share_in_other_units() -> None:
    first, second = [0.2, 0.5, 0.4, 0.9, 0.3], [0.1, 0.1, 0.3, 0.6, 0.4]
    one = compared(first, second, settings("share"))
    a, b = ([100 * value for value in side] for side in (first, second))
    other = compared(a, b, settings("share", 100))
    for name in ("estimate", "low", "high", "se"):
        assert getattr(other, name) == pytest.approx(100 * getattr(one, name))
    assert other.p == pytest.approx(one.p)
    assert "Korn and Graubard" in str(one.method)


def test_shares_that_differ_by_the_same_in_all_patients_have_no_interval() -> None:
    first, second = [30.0, 40.0, 50.0], [20.0, 30.0, 40.0]
    row = compared(first, second, settings("share", 100))
    assert (row.estimate, row.low, row.p) == (pytest.approx(10), None, None)
    assert str(row.reason).startswith("needs differences that vary between patients")


def test_a_count_has_an_interval_after_garwood_and_no_end() -> None:
    row = compared([3, 0, 5, 2, 1, 4], [0, 0, 1, 0, 0, 0], settings("count", None))
    assert row.estimate == pytest.approx(14 / 6)
    assert 0 < (row.low or 0) < 14 / 6 < (row.high or 0)
    assert "after Garwood" in str(row.method)


def test_of_one_patient_there_is_no_interval_and_the_row_says_why() -> None:
    row = compared([1], [0])
    assert (row.estimate, row.low, row.p) == (pytest.approx(1), None, None)
    assert row.reason == "needs 2 patients with rated sessions in both, found 1"


def test_a_value_beyond_its_ends_is_no_share() -> None:
    row = compared([1, 2, 0], [0, 1, 0], settings("share"))
    assert (row.low, row.reason) == (None, "a part is less than none or more than its whole")


def test_training_seeds_that_differ_widen_the_interval() -> None:
    same = rows(FIRST, SECOND, seeds=3)
    other = [replace(row, total=0.0) if row.seed == 3 else row for row in same]
    alike, apart = (contrast(analyse(found, settings())) for found in (same, other))
    assert alike.seeds == apart.seeds == (3, 1)
    assert (alike.seed_share, alike.error_term) == (0, "patients, and training seeds within arms")
    assert (apart.seed_share or 0) > 0.5
    assert (apart.high or 0) - (apart.low or 0) > (alike.high or 0) - (alike.low or 0)
    assert -1 <= (apart.low or 0) < (apart.high or 0) <= 1


def test_too_few_seeds_withhold_it_as_they_do_of_scores() -> None:
    row = contrast(analyse(rows(FIRST, SECOND, seeds=2), settings()))
    assert str(row.reason).startswith("withheld: a 95 % interval by 2 training seeds on one side")


def test_arms_have_their_means_with_intervals_and_scores_have_none() -> None:
    (outcome,) = analyse(rows(FIRST, SECOND), settings()).outcomes
    second, first = (arm.estimate for arm in outcome.arms)
    assert first is not None
    assert second is not None
    assert (first.value, second.value) == (pytest.approx(0.8), pytest.approx(0.3))
    assert (first.low, first.high) == pytest.approx(proportion_confint(8, 10, method="beta"))
    (scored,) = analyse(rows(FIRST, SECOND), Settings()).outcomes
    assert [arm.estimate for arm in scored.arms] == [None, None]


def test_every_row_of_the_headline_is_by_the_same_method() -> None:
    found = analyse(rows(FIRST, SECOND), settings())
    row = contrast(found)
    others = [*found.policies.missing, *found.outcomes[0].contrasts, *found.contrasts.items.rows]
    assert len(others) == 3
    for other in others:
        assert (other.low, other.high, other.p) == (row.low, row.high, row.p)


def test_an_outcome_beside_the_headline_is_compared_as_what_it_is() -> None:
    head = Outcome("judge", "total", "Total", 0, 1, "score", primary=True)
    flag = Outcome("judge", "it", "It", 0, 1, "flag", primary=False)
    known = Settings(items=("it",), outcomes=(head, flag))
    total, it = analyse(rows(FIRST, SECOND), known).outcomes
    assert "t on chain means" in str(total.contrasts[0].method)
    assert "exact McNemar" in str(it.contrasts[0].method)


def test_what_takes_it_for_a_score_says_so_or_gives_none() -> None:
    found = analyse(rows(FIRST, SECOND), settings())
    (notice,) = [one.text for one in found.notices if one.id == "no_score"]
    assert notice.startswith("Total is a flag and no score")
    (measure,) = found.repeated.measures
    assert (measure.reason, measure.means) == ("it is a flag, and not a score", ())
    assert not [one for one in analyse(made_up()).notices if one.id == "no_score"]


def test_the_document_follows_the_schema_and_is_read_back() -> None:
    found = analyse(rows(NO, NO), settings())
    document = to_json(found)
    assert list(Draft202012Validator(analysis_schema()).iter_errors(document)) == []
    assert from_json(Analysis, document).outcomes == found.outcomes


def test_by_t_a_rare_flag_would_be_missed_most_of_the_time() -> None:
    """Why there is another method: ten patients, .02."""
    random, held = np.random.default_rng(1), 0
    for _ in range(2000):
        values = (random.random(10) < 0.02).astype(float)
        half = student.ppf(0.975, 9) * values.std(ddof=1) / 10**0.5
        held += abs(values.mean() - 0.02) <= half
    assert held < 600


STUDIES = 400
NOISE = 3 * (0.95 * 0.05 / STUDIES) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "truth", "patients"),
    [
        ("flag, 1 session", 0.02, 20),
        ("flag, 1 session", 0.5, 100),
        ("flag, 20 sessions", 0.98, 100),
        ("flag, 20 sessions", 0.5, 10),
        ("flag, 3 training seeds", 0.5, 20),
        ("percentage, 1 session", 0.02, 20),
        ("count, 1 session", 3, 20),
        ("count, 20 sessions", 0.1, 100),
    ],
)
def test_intervals_cover_their_level_again(design: str, truth: float, patients: int) -> None:
    for share in tally_studies.coverage(design, truth, patients, STUDIES, seed=7):
        assert share > 0.94 - NOISE
