"""The published mixed model, digit for digit (arXiv 2412.00251; skips where the published scores are not at hand)."""

from typing import Any

import pytest

from cbt_ray.analysis import analyse
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
def result() -> dict[str, Any]:
    return analyse(published())


def test_fixed_effects(result: dict[str, Any]) -> None:
    model = result["mixed"]["published"]
    columns = ("estimate", "se", "z", "p", "low", "high")
    printed = [" ".join([term["term"], *(f"{term[column]:.3f}" for column in columns)]) for term in model["terms"]]
    assert printed == TERMS.strip().splitlines()
    assert (model["n"], model["groups"], model["group_sizes"]) == (593, 5, [117, 120])


def test_quality_of_fit(result: dict[str, Any]) -> None:
    model = result["mixed"]["published"]
    assert f"{model['log_likelihood']:.4f} {model['scale']:.4f} {model['patient_variance']:.3f}" == "-2232.2854 108.3379 0.873"
    assert f"{model['aic']:.3f} {model['bic']:.3f} {model['explained_variance']:.3f}" == "4478.571 4509.267 0.282"
    assert model["spread"] < 1e-3
    assert model["problems"] == []


def test_totals_per_arm(result: dict[str, Any]) -> None:
    printed = set()
    for row in result["scores"]:
        total = row["total"]
        numbers = f"{total['mean']:.2f} {total['sd']:.2f} {total['min']:.0f} {total['max']:.0f}"
        printed.add(f"{row['arm']} {numbers} {row['rated']}")
    assert printed == set(TOTALS.strip().splitlines())


def test_scale_was_used_up_to_seven(result: dict[str, Any]) -> None:
    assert {row["observed_max"] for row in result["ceiling"]} == {7}


def test_unbalanced_model_has_an_estimate_and_says_why_it_has_no_interval(result: dict[str, Any]) -> None:
    by_model = {row["model"]: row for row in result["contrasts"]["rows"]}
    assert by_model["Llama"]["estimate"] == pytest.approx(8.03)
    assert by_model["Llama"]["df"] == 4
    assert by_model["Mistral"]["low"] is None
    assert "17 to 20 sessions" in by_model["Mistral"]["reason"]
