"""The published mixed model, digit for digit (arXiv 2412.00251.

Skips where the published scores are not at hand).
"""

import pytest

from cbt_ray.analysis import Analysis, Scores, Settings, analyse, describe
from cbt_ray.analysis.effect.family import refitted
from cbt_ray.analysis.model.chain_model import chain_model
from tests.analysis.tables import published

TERMS = """
Intercept 69.508 0.948 73.307 0.000 67.650 71.367
C(model)[T.Mistral] -8.054 1.050 -7.667 0.000 -10.113 -5.995
C(model)[T.Qwen] -4.160 1.041 -3.997 0.000 -6.200 -2.120
C(variant)[T.instruct] -11.326 0.855 -13.246 0.000 -13.002 -9.650
session_z 0.179 0.428 0.419 0.675 -0.659 1.018
"""
TOTALS = """
Llama-Finetune 67.86 7.24 47 77 100
Qwen-Finetune 64.28 9.55 16 77 100
Mistral-Finetune 64.17 9.79 11 77 100
Llama-Instruct 59.83 10.44 23 76 100
Qwen-Instruct 55.09 9.91 15 75 100
Mistral-Instruct 47.20 14.09 11 76 93
"""


@pytest.fixture(scope="module")
def result() -> Analysis:
    return analyse(published())


def test_fixed_effects(result: Analysis) -> None:
    model = result.models.published
    columns = ("estimate", "se", "z", "p", "low", "high")
    printed = [
        " ".join([term.term, *(f"{getattr(term, column):.3f}" for column in columns)])
        for term in model.terms
    ]
    assert printed == TERMS.strip().splitlines()
    assert (model.n, model.groups, model.group_sizes) == (593, 5, (117, 120))


def test_quality_of_fit(result: Analysis) -> None:
    model = result.models.published
    assert (
        f"{model.log_likelihood:.4f} {model.scale:.4f} {model.patient_variance:.3f}"
        == "-2232.2854 108.3379 0.873"
    )
    assert (
        f"{model.aic:.3f} {model.bic:.3f} {model.explained_variance:.3f}"
        == "4478.571 4509.267 0.282"
    )
    assert model.spread < 1e-3
    failed = sum(
        attempt.log_likelihood is None for attempt in model.ladder
    )  # 0 or 1, by the machine's BLAS
    assert model.problems == (
        [f"{failed} of 8 fits failed or had no finite likelihood"] if failed else []
    )


def test_totals_per_arm(result: Analysis) -> None:
    printed = set()
    for row in result.scores:
        total = row.total
        numbers = f"{total.mean:.2f} {total.sd:.2f} {total.min:.0f} {total.max:.0f}"
        printed.add(f"{row.arm} {numbers} {row.rated}")
    assert printed == set(TOTALS.strip().splitlines())


def test_default_model_finds_the_optimum_where_one_optimiser_stops_short(
    result: Analysis,
) -> None:
    model = result.models.default
    assert (
        model.formula == "total ~ C(model) * C(variant) + session_z + (1 | patient) + (1 | chain)"
    )
    assert f"{model.ml.log_likelihood:.2f}" == "-2219.40"
    assert model.ml.interaction.p == pytest.approx(0.005085, rel=1e-3)
    tried = {(attempt.optimiser, attempt.start) for attempt in model.ml.ladder}
    assert len(tried) == len(model.ml.ladder) >= 6


def test_statsmodels_own_optimiser_stops_short_and_agrees_at_the_optimum() -> None:
    """The independent calculation: its likelihood at our variances is ours.

    Its lbfgs ends three units below.

    There it says converged with some builds of BLAS, and with others that it is not.
    """
    import numpy as np
    import statsmodels.formula.api as smf

    table = Scores.of(published()).sessions("plain")
    table["z"] = (table["session"] - table["session"].mean()) / table["session"].std()
    formula, intercepts = (
        "total ~ C(model) * C(variant, Treatment('tuned')) + z",
        {"chain": "0 + C(chain)"},
    )
    named = table.rename(columns=lambda name: name.removeprefix("factor:"))
    model = smf.mixedlm(formula, named, groups="patient", re_formula="1", vc_formula=intercepts)
    short = model.fit(reml=False, method="lbfgs")
    own = chain_model(table, Settings()).ml
    start = np.sqrt(
        [own.variances[name] / own.variances["session"] for name in ("patient", "chain")]
    )
    there = model.fit(reml=False, method="nm", start_params=start, maxiter=1)
    assert there.llf == pytest.approx(own.log_likelihood, abs=1e-3)
    assert short.llf < own.log_likelihood - 2


def test_every_contrast_has_an_interval_and_an_error_term(result: Analysis) -> None:
    rows = {row.label: row for row in result.contrasts.primary.rows}
    assert {
        model: f"{row.estimate:.2f} {row.low:.2f} {row.high:.2f}"
        for model, row in rows.items()
        if model != "Mistral"
    } == {
        "Llama": "8.03 3.20 12.86",
        "Qwen": "9.19 4.44 13.94",
    }
    assert (
        rows["Mistral"].method
        == "t on chain means, by fitted variances: chains rest on 17 to 20 sessions"
    )
    assert all(row.df == 4 and row.low > 0 for row in rows.values())


def test_tuned_models_do_not_differ_by_their_chains(result: Analysis) -> None:
    assert [row.p_adjusted > 0.05 for row in result.contrasts.secondary.rows] == [True] * 3


def test_refitting_every_draw_agrees_with_the_pivot() -> None:
    table = Scores.of(published()).sessions("plain")
    arms = describe.levels(describe.arms(table, Settings()))
    for row in refitted(table, arms, chain_model(table, Settings()), Settings(), draws=99).rows:
        assert row.low > 0
        assert row.p == pytest.approx(0.01, abs=0.011)
