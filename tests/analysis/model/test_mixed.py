"""The mixed model against a likelihood written out by hand, and its behaviour on data that do not
bear it.
"""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cbt_ray.analysis import ScoreRow, analyse
from tests.analysis.tables import Key, made_up

pytestmark = pytest.mark.slow


def several(seed: int = 5) -> list[ScoreRow]:
    random = np.random.default_rng(seed)
    patient = dict(zip(("p1", "p2", "p3", "p4"), (0, 1, 3, 4), strict=True))

    def score(key: Key, item: str) -> int:
        return int(2 + patient[key[2]] + (key[1] == "tuned") + random.integers(0, 3))

    return made_up(score, models=("a", "b"), patients=tuple(patient), sessions=6)


def by_hand(rows: list[ScoreRow]) -> tuple[float, Any, float, float]:
    """Profiled log-likelihood of a random intercept, maximized over one number: the ratio of the
    variances.
    """
    y = np.array([r.total for r in rows], dtype=float)
    session = np.array([r.session for r in rows], dtype=float)
    z = (session - session.mean()) / session.std(ddof=1)
    x = np.column_stack(
        [
            np.ones(len(y)),
            [r.factors["model"] == "b" for r in rows],
            [r.factors["variant"] == "instruct" for r in rows],
            z,
        ]
    )
    same = np.array([[a.patient == b.patient for b in rows] for a in rows], dtype=float)

    def fit(ratio: float) -> tuple[float, Any, float]:
        v = np.eye(len(y)) + ratio * same
        inverse = np.linalg.inv(v)
        beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        r = y - x @ beta
        scale = r @ inverse @ r / len(y)
        ll = -0.5 * (len(y) * (np.log(2 * np.pi * scale) + 1) + np.linalg.slogdet(v)[1])
        return ll, beta, scale

    ratio = minimize_scalar(
        lambda value: -fit(value)[0], bounds=(0, 100), method="bounded", options={"xatol": 1e-10}
    ).x
    return (*fit(ratio), ratio)


def test_equals_the_likelihood_by_hand() -> None:
    rows = several()
    model = analyse(rows).models.published
    likelihood, beta, scale, ratio = by_hand(rows)
    assert model.log_likelihood == pytest.approx(likelihood, abs=1e-6)
    assert [term.estimate for term in model.terms] == pytest.approx(beta, abs=1e-4)
    assert model.scale == pytest.approx(scale, rel=1e-4)
    assert model.patient_variance == pytest.approx(ratio * scale, rel=1e-3)
    assert model.aic == pytest.approx(-2 * likelihood + 2 * 6, abs=1e-5)
    assert model.reference == {"model": "a", "variant": "tuned"}


def test_ladder_records_every_optimiser_from_every_start() -> None:
    model = analyse(several()).models.published
    tried = {(attempt.optimiser, attempt.start) for attempt in model.ladder}
    assert len(tried) == len(model.ladder) >= 6
    finite = [
        attempt.log_likelihood for attempt in model.ladder if attempt.log_likelihood is not None
    ]
    assert model.log_likelihood == max(finite)


def test_residuals_are_standardized_and_ordered() -> None:
    model = analyse(several()).models.published
    assert model.residuals_shown == (96, 96)
    observed = [point[1] for point in model.qq]
    assert observed == sorted(observed)
    assert sum(value**2 for value in observed) / 96 == pytest.approx(1, abs=0.15)


def test_patients_without_differences_are_named_a_boundary_fit() -> None:
    rows = made_up(
        lambda key, item: 3 + (key[3] * 7 + len(key[1])) % 5,
        models=("a", "b"),
        patients=("p1", "p2", "p3"),
        sessions=6,
    )
    model = analyse(rows).models.published
    assert model.status == "fitted"
    assert any("boundary" in problem for problem in model.problems)


def test_one_model_names_the_reduced_formula_and_does_not_pass_it_off_as_the_published() -> None:
    models = analyse(made_up(sessions=4)).models
    assert models.published.status == "not_fitted"
    assert models.published.reason == "C(model) cannot be estimated: one model only (smollm2)"
    assert models.reduced.formula == "total ~ C(variant) + session_z + (1 | patient)"
    assert models.reduced.dropped == ["C(model): one model only (smollm2)"]
    assert [term.term for term in models.reduced.terms] == [
        "Intercept",
        "C(variant)[T.instruct]",
        "session_z",
    ]


def test_confounded_factors_are_not_fitted() -> None:
    rows = [
        row
        for row in made_up(models=("a", "b"), sessions=6)
        if row.arm in ("a-tuned", "b-instruct")
    ]
    models = analyse(rows).models
    assert "confounded" in models.published.reason
    assert models.reduced is None
