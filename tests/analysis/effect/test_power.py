"""Section `power`: against an analysis of variance; what `plan` says before there are scores."""

import json

import numpy as np
import pytest

from cbt_ray.analysis import Scores, Settings
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.effect.design import Design, Variances
from cbt_ray.analysis.effect.power import Power, power
from cbt_ray.planning.effect import smallest_effect
from cbt_ray.study import Study, load_study
from tests.analysis.judge.raters import DEGENERATE, crowd
from tests.analysis.tables import published

pytestmark = pytest.mark.slow


def test_variances_by_moments_are_those_of_an_analysis_of_variance() -> None:
    scores = crowd(patients=6, sessions=8, models=("a", "b"))
    found = power(scores, Settings())
    sessions = scores.sessions("plain", "judge")
    cells = sessions.groupby(["arm", "patient"])["total"]
    means = cells.mean().unstack().to_numpy()
    rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    interaction, within = np.square(rest).sum() / 15, float(cells.var(ddof=1).mean())
    assert found.variances.residual == pytest.approx(within)
    assert found.variances.chain == pytest.approx(max(0.0, interaction - within / 8))
    assert found.variances.df == 15
    assert found.design == Design(arms=4, family=2, patients=6, chains=1, sessions=8)
    for row in found.smallest:
        assert row.low < row.difference < row.high


def test_published_variances() -> None:
    found = power(Scores.of(published()), Settings())
    assert (found.variances.chain, found.variances.residual) == pytest.approx(
        (6.49, 101.21), abs=0.01
    )
    assert (found.design.patients, found.design.sessions, found.family) == (5, 20, 3)


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_scores_end_in_a_reason(name: str) -> None:
    found = power(DEGENERATE[name], Settings())
    document = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert to_json(from_json(Power, document)) == document
    assert (found.reason is None) == bool(found.smallest)


def paper() -> Study:
    return load_study("studies/paper.yaml")


def with_patients(study: Study, count: int) -> Study:
    patients = study.patients.model_copy(update={"simulated": study.patients.simulated[:count]})
    return study.model_copy(update={"patients": patients})


def test_plan_says_what_the_study_could_find() -> None:
    found, assumed = smallest_effect(paper())
    assert (
        "11.0 of 99 points with 80% power, 12.7 with 90% (5 patients, t with df 4, Holm over 3 "
        "contrasts)" in found
    )
    assert "6.49 between chains, 101 between a chain's sessions" in assumed
    declared, _ = smallest_effect(paper(), Variances(0.0, 20.0, "declared"))
    assert "3.2 of 99 points" in declared


def test_plan_of_a_study_too_small_to_find_anything() -> None:
    (one,) = smallest_effect(with_patients(paper(), 1))
    assert one.endswith("none with 1 patient; it takes 2")
    few, _ = smallest_effect(with_patients(paper(), 2))
    assert "none; all 99 points of the scale would be found less often than 80%" in few
    study = paper()
    alone = study.model_copy(update={"arms": tuple(arm for arm in study.arms if arm.tuned)})
    assert next(iter(smallest_effect(alone))).endswith("none, no two arms are compared")
