"""Models are opened once, kept between tasks, and let go when they are not needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.models import Models, probe
from cbt_ray.study.endpoint import Endpoint, LlamaCppEndpoint, Sampling, ScriptedEndpoint
from cbt_ray.study.study import Budget

from .conftest import EMBEDDED, ask


@pytest.fixture
def models() -> Models:
    endpoints: dict[str, Endpoint] = {
        "script": ScriptedEndpoint(kind="scripted"),
        "small": LlamaCppEndpoint(kind="llama_cpp", gguf=EMBEDDED, context=512),
        "tuned": LlamaCppEndpoint(kind="llama_cpp", gguf="finetuned", context=512),
        "gone": LlamaCppEndpoint(kind="llama_cpp", gguf="nowhere/model.gguf"),
    }
    return Models(endpoints, gate_of(Meter(endpoints, Budget())))


def test_usage_is_each_callers_own(models: Models) -> None:
    one, two = models.open("script", "judge"), models.open("script", "judge")
    probe(one, "judge", Sampling())
    assert (one.usage.calls, two.usage.calls) == (1, 0)
    assert one.model is two.model


def test_a_tuned_model_needs_its_file(models: Models) -> None:
    with pytest.raises(InputError, match=r"endpoints\.tuned\.gguf"):
        models.open("tuned", "therapist")


def test_a_missing_file_is_named(models: Models) -> None:
    with pytest.raises(InputError, match=r"nowhere/model\.gguf"):
        models.open("gone", "therapist")


@pytest.mark.llama
def test_each_role_has_its_own_model(models: Models, embedded_file: Path) -> None:
    therapist, patient = models.open("small", "therapist.one"), models.open("small", "patient")
    assert therapist.model is not patient.model
    tuned = models.open("tuned", "therapist.two", embedded_file)
    assert probe(tuned, "therapist", Sampling()).reply_tokens <= 16
    assert models.open("small", "patient").model is patient.model
    models.close()


@pytest.mark.llama
def test_a_therapist_is_closed_for_another_arm_and_never_under_one_that_uses_it(
    models: Models, embedded_file: Path
) -> None:
    first = models.open("small", "therapist.one")
    models.open("tuned", "therapist.two", embedded_file)
    assert models.open("small", "therapist.one").model is first.model, "two jobs use it"
    models.release("small", "therapist.one")
    models.open("small", "therapist.three")
    assert first(ask(max_tokens=2)).reply_tokens <= 2, "one still does"
    models.release("small", "therapist.one")
    models.open("small", "therapist.four")
    assert models.open("small", "therapist.one").model is not first.model
    models.close()
