"""Contrasts against independent calculations (numpy, scipy) and against simulations whose truth is
known.
"""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis import ScoreRow, Scores, Settings, analyse
from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.asked import pairs_of
from cbt_ray.analysis.effect.contrast import Effect, contrasts, holm
from cbt_ray.analysis.effect.family import false_discovery
from cbt_ray.analysis.effect.policy import counted
from tests.analysis.tables import Key, made_up

SETTINGS = Settings()
SIX: dict[str, Any] = {
    "models": ("a", "b", "c"),
    "patients": ("p1", "p2", "p3", "p4"),
    "sessions": 5,
}


def primary(rows: list[ScoreRow], settings: Settings = SETTINGS) -> list[Effect]:
    sessions = Scores.of(rows).sessions("plain")
    known = levels(arms(sessions, settings))
    return contrasts(
        counted(sessions, settings.unrated, 3, settings),
        pairs_of("primary", known, settings),
        known,
        settings,
    )


def noisy(seed: int, **design: Any) -> list[ScoreRow]:
    """Uniform scores; the same for every replicate of a session."""
    random = np.random.default_rng(seed)
    draws: defaultdict[tuple[Key, str], int] = defaultdict(lambda: int(random.integers(1, 11)))
    return made_up(lambda key, item: draws[key, item], **design)


def test_pair_alone_equals_scipys_paired_t_on_chain_means() -> None:
    rows = noisy(1, patients=("p1", "p2", "p3", "p4", "p5"))
    means = {
        arm: [
            np.mean([r.total for r in rows if r.factors["variant"] == arm and r.patient == f"p{i}"])
            for i in range(1, 6)
        ]
        for arm in ("tuned", "instruct")
    }
    expected = stats.ttest_rel(means["tuned"], means["instruct"])
    low, high = expected.confidence_interval(0.95)
    (row,) = primary(rows)
    assert (row.t, row.p, row.df) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
        4,
    )
    assert (row.low, row.high) == (pytest.approx(low), pytest.approx(high))


def test_own_error_term_comes_first_and_the_pooled_one_equals_the_two_way_anova() -> None:
    rows = noisy(2, **SIX)
    names, patients = (
        list(dict.fromkeys(row.arm for row in rows)),
        sorted(SIX["patients"]),
    )
    means = {
        (n, p): np.mean([r.total for r in rows if r.arm == n and r.patient == p])
        for n in names
        for p in patients
    }
    y = np.array([means[arm, patient] for arm in names for patient in patients])
    design = np.array(
        [
            [1.0, *(arm == a for a in names[1:]), *(p == q for q in patients[1:])]
            for arm in names
            for p in patients
        ],
        dtype=float,
    )
    coefficients, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
    df = len(y) - design.shape[1]
    se = np.sqrt(2 * residual[0] / df / len(patients))
    for row in primary(rows):
        difference = dict(zip(names[1:], coefficients[1:6], strict=True))
        expected = difference[row.plus] - difference.get(row.minus, 0.0)
        own = stats.ttest_rel(
            *([means[group, p] for p in patients] for group in (row.plus, row.minus))
        )
        assert (row.estimate, row.t, row.df) == (
            pytest.approx(expected),
            pytest.approx(own.statistic),
            3,
        )
        assert (row.pooled.se, row.pooled.df) == (pytest.approx(se), df)
        assert row.pooled.high - row.estimate == pytest.approx(stats.t.ppf(0.975, df) * se)


def test_missing_cells_are_estimated_by_least_squares_with_patients_held_fixed() -> None:
    rows = [
        row
        for row in noisy(6, patients=("p1", "p2", "p3", "p4"))
        if (row.factors["variant"], row.patient) != ("tuned", "p1")
    ]
    means = {
        (v, p): np.mean([r.total for r in rows if (r.factors["variant"], r.patient) == (v, p)])
        for v in ("tuned", "instruct")
        for p in ("p2", "p3", "p4")
    }
    (row,) = primary(rows)
    assert row.estimate == pytest.approx(
        np.mean([means["tuned", p] - means["instruct", p] for p in ("p2", "p3", "p4")])
    )
    assert row.patients == 3
    assert "smollm2-tuned has no rated session with p1" in row.method


def test_fitted_variances_agree_with_t_where_the_data_are_almost_balanced() -> None:
    many = tuple(f"p{i}" for i in range(12))
    design: dict[str, Any] = {"patients": many, "sessions": 20}
    (balanced,) = primary(noisy(7, **design))
    (lost,) = primary(
        noisy(
            7,
            reason=lambda key: "judge_failed" if key[1:] == ("tuned", "p3", 7) else None,
            **design,
        )
    )
    assert balanced.method == "t on chain means"
    assert lost.method.startswith(
        "t on chain means, by fitted variances: chains rest on 19 to 20 sessions"
    )
    assert (lost.high - lost.low) / (balanced.high - balanced.low) == pytest.approx(1, abs=0.15)
    assert primary(
        noisy(
            7,
            reason=lambda key: "judge_failed" if key[1:] == ("tuned", "p3", 7) else None,
            **design,
        )
    ) == [lost]


def test_secondary_family_holds_every_pair_of_tuned_models() -> None:
    known = {f"{m}-{v}": {"model": m, "variant": v} for m in "abc" for v in ("tuned", "instruct")}
    assert [pair.label for pair in pairs_of("secondary", known, SETTINGS)] == [
        "a-tuned - b-tuned",
        "a-tuned - c-tuned",
        "b-tuned - c-tuned",
    ]


def test_false_discovery_by_hand() -> None:
    assert false_discovery([0.01, 0.04, 0.03, None]) == [
        pytest.approx(0.04),
        pytest.approx(4 * 0.04 / 3),
        pytest.approx(4 * 0.04 / 3),
        None,
    ]
    assert false_discovery([]) == []


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_withheld_interval_does_not_shrink_the_family() -> None:
    rows = {
        row.label: row
        for row in primary(
            noisy(3, reason=lambda key: "not_reached" if key[:2] == ("b", "tuned") else None, **SIX)
        )
    }
    assert rows["b"].reason == "no rated session of b-tuned"
    assert rows["b"].p_adjusted is None
    smaller, larger = sorted((rows["a"], rows["c"]), key=lambda row: float(row.p))
    assert smaller.p_adjusted == pytest.approx(min(1.0, 3 * smaller.p))
    assert larger.p_adjusted >= smaller.p_adjusted


def test_as_many_but_other_sessions_are_not_balanced() -> None:
    gone = {("tuned", 1), ("instruct", 3)}
    rows = made_up(
        reason=lambda key: "nothing_to_rate" if (key[1], key[3]) in gone else None,
        patients=("ada", "ben-li", "cy"),
    )
    (row,) = primary(rows)
    assert "different sessions" in row.method


@pytest.mark.slow
def test_judge_replicates_are_averaged_and_add_no_observations() -> None:
    one, three = analyse(noisy(4)), analyse(noisy(4, replicates=3))
    for key in ("contrasts", "policies", "cells", "models", "distribution", "tests", "slopes"):
        assert getattr(one, key) == getattr(three, key)
