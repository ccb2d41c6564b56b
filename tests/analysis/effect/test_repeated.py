"""Repeated measures against independent calculations: statsmodels' mixed model, its analysis of
variance, scipy, simulation.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multitest import multipletests

from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.effect.repeated import (
    ComparedMeasure,
    WithinSubjects,
    of_sessions,
    repeated,
)
from tests.needs import needs

pytestmark = pytest.mark.slow

SUBJECTS, CONDITIONS = 40, ("a", "b", "c")


def made_up(
    seed: int = 1, subjects: int = SUBJECTS, between: float = 2.0, effect: float = 0.8
) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    level = draw.normal(0, between, subjects)[:, None] + effect * np.arange(len(CONDITIONS))
    value = 10 + level + draw.normal(0, 1, (subjects, len(CONDITIONS)))
    names = [(f"s{s}", c) for s in range(subjects) for c in CONDITIONS]
    return pd.DataFrame(
        {"who": [w for w, _ in names], "how": [h for _, h in names], "value": value.ravel()}
    )


def only(frame: pd.DataFrame, **options: Any) -> ComparedMeasure:
    found = repeated(frame, "who", "how", ["value"], **options)
    document = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert to_json(from_json(WithinSubjects, document)) == document
    return found.measures[0]


def by_statsmodels(frame: pd.DataFrame) -> Any:
    model = MixedLM.from_formula("value ~ C(how)", groups="who", data=frame)
    return model.fit(reml=True, method="powell")  # its gradients fail on the published scores


def wald_of(fit: Any) -> float:
    names = [name for name in fit.fe_params.index if name != "Intercept"]
    estimates = fit.fe_params[names].to_numpy()
    covariance = fit.cov_params().loc[names, names].to_numpy()
    return float(estimates @ np.linalg.solve(covariance, estimates))


@pytest.fixture(scope="module")
def act() -> pd.DataFrame:
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "act_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    return pd.read_csv(path)


@pytest.mark.parametrize(
    ("measure", "chi2"),
    [("act_fm_total_consistency", "185.15"), ("tes_total_empathy_mean", "140.37")],
)
def test_the_published_wald_chi2(act: pd.DataFrame, measure: str, chi2: str) -> None:
    found = repeated(act, "session_id", "model_type", [measure]).measures[0]
    assert f"{found.omnibus.chi2:.2f}" == chi2
    assert (found.omnibus.df, found.n, found.subjects, found.problems) == (
        5,
        900,
        150,
        [],
    )
    assert len(found.pairs) == 15


def test_the_act_table_equals_statsmodels(act: pd.DataFrame) -> None:
    frame = act.rename(
        columns={"session_id": "who", "model_type": "how", "tes_total_empathy_mean": "value"}
    )
    found, fit = only(frame), by_statsmodels(frame)
    assert found.omnibus.chi2 == pytest.approx(wald_of(fit), rel=1e-5)
    assert found.variance.residual == pytest.approx(fit.scale, rel=1e-5)
    assert found.variance.subject == pytest.approx(float(fit.cov_re.iloc[0, 0]), rel=1e-3)
    assert found.variance.log_likelihood == pytest.approx(fit.llf, abs=1e-5)


def test_complete_data_equal_statsmodels_in_every_pair() -> None:
    frame = made_up()
    found, fit = only(frame), by_statsmodels(frame)
    estimates = {"a": 0.0, **{name: fit.fe_params[f"C(how)[T.{name}]"] for name in "bc"}}
    p = []
    for pair in found.pairs:
        assert pair.estimate == pytest.approx(estimates[pair.a] - estimates[pair.b])
        assert pair.wald.se == pytest.approx(
            fit.bse_fe["C(how)[T.b]"], rel=1e-4
        )  # the same for all, on complete data
        p.append(pair.wald.p)
    adjusted = multipletests(p, method="holm-sidak")[1]
    assert [pair.wald.p_adjusted for pair in found.pairs] == pytest.approx(list(adjusted))
    assert found.ladder


def test_incomplete_data_equal_statsmodels() -> None:
    frame = made_up().drop(index=[0, 4, 8, 30])
    found, fit = only(frame), by_statsmodels(frame)
    assert found.omnibus.chi2 == pytest.approx(wald_of(fit), rel=1e-4)
    assert [row.mean for row in found.means] == pytest.approx(
        [
            fit.fe_params["Intercept"] + fit.fe_params.get(f"C(how)[T.{name}]", 0.0)
            for name in CONDITIONS
        ],
        rel=1e-6,
    )
    assert found.problems == ["4 of 40 subjects lack a condition"]
    assert (found.complete, found.f.subjects, found.variance.exact) == (
        36,
        36,
        False,
    )


def test_f_equals_an_independent_analysis_of_variance() -> None:
    frame = made_up()
    found, other = (
        only(frame),
        AnovaRM(frame, "value", "who", within=["how"]).fit().anova_table.iloc[0],
    )
    assert found.f.f == pytest.approx(other["F Value"])
    assert (found.f.df1, found.f.df2) == (other["Num DF"], other["Den DF"]) == (2, 78)
    assert found.f.p == pytest.approx(other["Pr > F"])
    assert found.omnibus.chi2 == pytest.approx(2 * found.f.f)  # closed form of complete data
    assert found.f.p < found.f.p_corrected
    assert 0.5 <= found.f.epsilon <= 1


def test_two_conditions_are_the_paired_t_test() -> None:
    frame = made_up()[lambda table: table["how"] != "c"]
    found = only(frame)
    pair = found.pairs[0]
    assert pair.paired.t**2 == pytest.approx(found.f.f)
    assert pair.paired.p == pytest.approx(found.f.p)
    assert found.f.epsilon == pytest.approx(1)


def test_a_subject_variance_of_zero_is_named_and_residuals_are_pooled() -> None:
    frame = made_up(between=0.0, seed=4)
    wide = frame.pivot_table(index="who", columns="how", values="value")
    frame = frame.assign(
        value=frame["value"] - frame["who"].map(wide.mean(axis=1))
    )  # subjects alike: between is below what chance leaves
    found = only(frame)
    assert found.variance.subject == 0
    assert found.problems == ["boundary fit: the variance between subjects is estimated as zero"]
    within = frame.groupby("how")["value"].var(ddof=1).mean()
    assert found.variance.residual == pytest.approx(within)


def test_how_often_wald_errs_is_what_a_simulation_finds() -> None:
    subjects, runs = 5, 4000
    stated = only(made_up(subjects=subjects)).omnibus.type1
    draw = np.random.default_rng(2)
    values = draw.normal(0, 1, (runs, subjects, len(CONDITIONS))) + draw.normal(
        0, 3, (runs, subjects, 1)
    )
    rest = (
        values
        - values.mean(axis=2, keepdims=True)
        - values.mean(axis=1, keepdims=True)
        + values.mean(axis=(1, 2), keepdims=True)
    )
    error = np.square(rest).sum(axis=(1, 2)) / ((subjects - 1) * (len(CONDITIONS) - 1))
    chi2 = subjects * values.mean(axis=1).var(axis=1) * len(CONDITIONS) / error
    found = float((chi2 > 5.991).mean())
    assert stated > 0.08
    assert found == pytest.approx(stated, abs=4 * (stated * (1 - stated) / runs) ** 0.5)


def test_intervals_by_z_are_withheld_where_they_do_not_hold_their_level() -> None:
    few, many = only(made_up(subjects=3)), only(made_up())
    assert few.pairs[0].wald.low is None
    assert (
        few.pairs[0].wald.reason
        == "withheld: a 95 % interval by z covers 87.8% with 4 degrees of freedom"
    )
    assert few.pairs[0].paired.low is not None
    assert few.means[0].low is None
    pair = many.pairs[0].wald
    assert pair.low < many.pairs[0].estimate < pair.high
    assert pair.simultaneous is not None
    assert pair.simultaneous[0] < pair.low


def test_rows_of_one_subject_and_condition_are_averaged_and_never_counted_twice() -> None:
    frame = made_up()
    doubled = pd.concat(
        [frame.assign(value=frame["value"] - 1), frame.assign(value=frame["value"] + 1)]
    )
    once, twice = only(frame), only(doubled)
    assert twice.averaged == 120
    assert twice.f.f == pytest.approx(once.f.f)
    assert twice.n == once.n == 120


def test_the_order_of_conditions_is_the_one_asked_for() -> None:
    found = repeated(
        made_up(), "who", "how", ["value"], conditions=["c", "a"], titles={"value": "Value"}
    )
    measure = found.measures[0]
    assert [row.condition for row in measure.means] == ["c", "a"]
    assert measure.pairs[0].estimate > 0
    assert (measure.title, measure.n) == ("Value", 80)


def test_arms_of_a_study_are_compared_on_means_of_chains() -> None:
    draw = np.random.default_rng(5)
    keys = [(arm, patient, session) for arm in "xy" for patient in range(6) for session in range(4)]
    sessions = pd.DataFrame(keys, columns=["arm", "patient", "session"])
    sessions["total"] = draw.normal(50, 9, len(sessions)) + 7 * (sessions["arm"] == "y")
    sessions["chain"] = sessions["arm"] + sessions["patient"].astype(str)
    sessions.loc[3, "total"] = float("nan")
    measure = of_sessions(sessions, ["y", "x"]).measures[0]
    means = sessions.groupby(["arm", "patient"])["total"].mean().unstack(0)
    test = ttest_rel(means["y"], means["x"])
    assert measure.pairs[0].paired.t == pytest.approx(test.statistic)
    assert measure.pairs[0].paired.p == pytest.approx(test.pvalue)
    assert measure.n == 12


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("s1", "a", 1.0), ("s2", "a", 2.0)], "needs 2 conditions or more, found 1"),
        ([("s1", "a", 1.0), ("s1", "b", 2.0)], "needs 2 subjects or more, found 1"),
        (
            [("s1", "a", 1.0), ("s2", "b", 2.0)],
            "expected more than 2 values for 2 conditions and 2 subjects",
        ),
        (
            [("s1", "a", 1.0), ("s1", "b", 2.0), ("s2", "a", 3.0), ("s2", "b", 4.0)],
            "there is no residual variation",
        ),
        (
            [("s1", "a", 1.0), ("s1", "b", None), ("s2", "a", 2.0), ("s2", "b", None)],
            "no value under b",
        ),
        ([], "needs 2 conditions or more, found 0"),
    ],
)
def test_what_cannot_be_compared_says_why(
    rows: list[tuple[str, str, float | None]], reason: str
) -> None:
    frame = pd.DataFrame(rows, columns=["who", "how", "value"]).astype({"value": float})
    found = only(frame)
    assert reason in found.reason
    assert found.omnibus is None
    assert not found.pairs
