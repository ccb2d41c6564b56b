"""The likelihood from sums over chains against statsmodels' MixedLM, an independent calculation of
the same model.
"""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cbt_ray.analysis.model import nested


def simulated(seed: int, patients: int = 6, chains: int = 4) -> pd.DataFrame:
    """Unbalanced: chains of 3 to 12 sessions."""
    random = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        own = random.normal(0, 2)
        for chain in range(chains):
            level = own + random.normal(0, 1.5) + 2 * (chain % 2)
            rows += [
                {
                    "patient": patient,
                    "chain": f"{patient}.{chain}",
                    "x": float(chain % 2),
                    "z": float(n),
                    "y": 30 + level + random.normal(0, 3),
                }
                for n in range(random.integers(3, 13))
            ]
    return pd.DataFrame(rows)


def ours(frame: pd.DataFrame, *, chains: bool, reml: bool) -> nested.Fit:
    matrix = np.column_stack([np.ones(len(frame)), frame["x"], frame["z"]])
    patient, chain = pd.factorize(frame["patient"])[0], pd.factorize(frame["chain"])[0]
    data = nested.sums(
        matrix, frame["y"].to_numpy(), ("1", "x", "z"), patient, chain if chains else None
    )
    found = nested.fit(data, reml=reml)
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_random_intercepts_equal_statsmodels(seed: int, reml: bool) -> None:
    import statsmodels.formula.api as smf

    frame = simulated(seed)
    own = ours(frame, chains=True, reml=reml)
    model = smf.mixedlm(
        "y ~ x + z", frame, groups="patient", re_formula="1", vc_formula={"chain": "0 + C(chain)"}
    )
    start = np.sqrt([own.variances[name] / own.residual_variance for name in ("patient", "chain")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = model.fit(reml=reml, method="nm", start_params=start)
    assert own.log_likelihood >= theirs.llf - 1e-4
    assert own.log_likelihood == pytest.approx(theirs.llf, abs=1e-2)
    assert own.estimates == pytest.approx(theirs.fe_params.to_numpy(), abs=1e-2)
    assert np.sqrt(np.diag(own.covariance)) == pytest.approx(theirs.bse_fe.to_numpy(), rel=2e-2)
    assert own.residual_variance == pytest.approx(theirs.scale, rel=1e-2)


def test_one_random_intercept_equals_the_likelihood_written_out() -> None:
    frame = simulated(4)
    own = ours(frame, chains=False, reml=True)
    same = (frame["patient"].to_numpy()[:, None] == frame["patient"].to_numpy()[None, :]).astype(
        float
    )
    v = own.residual_variance * np.eye(len(frame)) + own.variances["patient"] * same
    x = np.column_stack([np.ones(len(frame)), frame["x"], frame["z"]])
    inverse = np.linalg.inv(v)
    beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ frame["y"])
    rest = frame["y"] - x @ beta
    value = (
        (len(frame) - 3) * np.log(2 * np.pi)
        + np.linalg.slogdet(v)[1]
        + np.linalg.slogdet(x.T @ inverse @ x)[1]
        + rest @ inverse @ rest
    )
    assert own.log_likelihood == pytest.approx(-value / 2, abs=1e-8)
    assert own.estimates == pytest.approx(beta, abs=1e-8)
    assert own.covariance == pytest.approx(np.linalg.inv(x.T @ inverse @ x), abs=1e-8)


def test_equal_patients_are_named_a_boundary_fit_and_attempts_are_recorded() -> None:
    frame = simulated(5)
    frame["y"] = np.random.default_rng(0).normal(size=len(frame))
    found = ours(frame, chains=True, reml=True)
    assert any(
        problem.startswith("boundary fit: the variance between") for problem in found.problems
    )
    assert {attempt.optimiser for attempt in found.attempts} == set(nested.OPTIMISERS)


def test_a_refit_costs_milliseconds_and_finds_the_same() -> None:
    frame = simulated(6)
    matrix = np.column_stack([np.ones(len(frame)), frame["x"]])
    codes = [pd.factorize(frame[name])[0] for name in ("patient", "chain")]
    data: Any = nested.sums(matrix, frame["y"].to_numpy(), ("1", "x"), *codes)
    once, full = nested.fit(data, reml=True, ladder=False), nested.fit(data, reml=True)
    assert once is not None
    assert full is not None
    assert once.log_likelihood == pytest.approx(full.log_likelihood, abs=1e-4)
    assert len(once.attempts) == 1
