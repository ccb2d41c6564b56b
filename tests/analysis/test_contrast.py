"""Contrasts against independent calculations (numpy, scipy) and against simulations whose truth is known."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cbt_ray.analysis import ScoreRow, Settings, analyse
from cbt_ray.analysis.contrast import cells, contrasts, holm
from cbt_ray.analysis.describe import arms
from cbt_ray.analysis.policy import counted
from cbt_ray.analysis.scores import average
from tests.analysis.tables import Key, made_up

SETTINGS = Settings()
SIX: dict[str, Any] = {"models": ("a", "b", "c"), "patients": ("p1", "p2", "p3", "p4"), "sessions": 5}


def primary(rows: list[ScoreRow], settings: Settings = SETTINGS) -> list[dict[str, Any]]:
    sessions = average(rows)
    return contrasts(counted(sessions, settings.unrated, 3, settings), arms(sessions, settings), settings)


def noisy(seed: int, **design: Any) -> list[ScoreRow]:
    """Uniform scores; the same for every replicate of a session."""
    random = np.random.default_rng(seed)
    draws: defaultdict[tuple[Key, str], int] = defaultdict(lambda: int(random.integers(1, 11)))
    return made_up(lambda key, item: draws[key, item], **design)


def test_pair_alone_equals_scipys_paired_t_on_chain_means() -> None:
    rows = noisy(1, patients=("p1", "p2", "p3", "p4", "p5"))
    means = {
        arm: [np.mean([r.total for r in rows if r.variant == arm and r.patient == f"p{i}"]) for i in range(1, 6)]
        for arm in ("tuned", "instruct")
    }
    expected = stats.ttest_rel(means["tuned"], means["instruct"])
    low, high = expected.confidence_interval(0.95)
    (row,) = primary(rows)
    assert (row["t"], row["p"], row["df"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue), 4)
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))


def test_pooled_error_term_equals_the_two_way_anova_by_least_squares() -> None:
    rows = noisy(2, **SIX)
    table = cells(counted(average(rows), "missing", 3, SETTINGS))
    names, patients = list(table), sorted(SIX["patients"])
    y = np.array([table[arm][patient].mean for arm in names for patient in patients])
    design = np.array(
        [[1.0, *(arm == a for a in names[1:]), *(p == q for q in patients[1:])] for arm in names for p in patients], dtype=float
    )
    coefficients, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
    df = len(y) - design.shape[1]
    se = np.sqrt(2 * residual[0] / df / len(patients))
    for row in primary(rows):
        difference = dict(zip(names[1:], coefficients[1:6], strict=True))
        expected = difference[row["treatment"]] - difference.get(row["control"], 0.0)
        assert row["estimate"] == pytest.approx(expected)
        assert (row["se"], row["df"]) == (pytest.approx(se), df)
        assert row["high"] - row["estimate"] == pytest.approx(stats.t.ppf(0.975, df) * se)
        assert row["error_term"].endswith("all arms")


@pytest.mark.parametrize("patients", [5, 10, 20])
def test_intervals_hold_their_level_and_the_test_its_size_where_the_truth_is_known(patients: int) -> None:
    """Means of chains with patient, chain and session variance; 2,000 studies of six arms without any effect."""
    random = np.random.default_rng(patients)
    names = [f"p{i:02}" for i in range(patients)]
    arm_names = ["a-instruct", "a-tuned", "b-instruct", "b-tuned", "c-instruct", "c-tuned"]
    levels = [{"arm": arm, "model": arm[0], "variant": arm[2:]} for arm in arm_names]
    template = {(r.arm, r.patient): s for s in average(made_up(models="abc", patients=names, sessions=1)) for r in [s.row]}
    covered = []
    for _ in range(2000):
        y = random.normal(0, 3, len(names)) + random.normal(0, np.sqrt(4 + 108 / 20), (len(arm_names), len(names)))
        data = [(template[arm, p], y[i, j]) for i, arm in enumerate(arm_names) for j, p in enumerate(names)]
        covered += [row["low"] < 0 < row["high"] for row in contrasts(data, levels, SETTINGS)]
    assert 0.935 < np.mean(covered) < 0.965


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_withheld_interval_does_not_shrink_the_family() -> None:
    def unrated(key: Key) -> str | None:
        return "not_reached" if key[:3] == ("b", "tuned", "p1") and key[3] == 5 else None

    rows = {row["model"]: row for row in primary(noisy(3, reason=unrated, **SIX))}
    assert rows["b"]["reason"] == "needs balanced data: chains rest on 4 to 5 sessions"
    assert rows["b"]["p_holm"] is None
    smaller, larger = sorted((rows["a"], rows["c"]), key=lambda row: row["p"])
    assert smaller["p_holm"] == pytest.approx(min(1.0, 3 * smaller["p"]))
    assert larger["p_holm"] >= smaller["p_holm"]
    assert rows["a"]["error_term"].endswith("this model's two arms")


def test_as_many_but_other_sessions_are_not_balanced() -> None:
    gone = {("tuned", 1), ("instruct", 3)}
    rows = made_up(reason=lambda key: "nothing_to_rate" if (key[1], key[3]) in gone else None)
    (row,) = primary(rows)
    assert row["low"] is None
    assert "different sessions" in row["reason"]


def test_judge_replicates_are_averaged_and_add_no_observations() -> None:
    one, three = analyse(noisy(4)), analyse(noisy(4, replicates=3))
    for key in ("contrasts", "policies", "cells", "mixed", "distribution"):
        assert one[key] == three[key]
    assert three["judge"] == {"replicates": 3, "within_session_sd": 0.0, "reason": None}
