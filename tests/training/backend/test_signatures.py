"""Every argument that is passed by name to the libraries of training is one that their locked
versions take.

Most of them swallow what they do not know: a name that is wrong, or that a newer version dropped,
would be seen on a GPU only, by a training that is another one than asked for.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.needs import needs
from tests.training.backend.passed import Call, calls, name_of, rename, sources
from tests.training.backend.signatures import FILE, ROOT, accepted, locked, of_unsloth

pytestmark = pytest.mark.train
LOADS, ADAPTS = (
    "unsloth.FastLanguageModel.from_pretrained",
    "unsloth.FastLanguageModel.get_peft_model",
)
PLANTED = [
    (LOADS, "max_seq_length", "max_length"),
    (LOADS, "load_in_4bit", "load_4bit"),
    (LOADS, "dtype", "compute_dtype"),
    (ADAPTS, "use_gradient_checkpointing", "gradient_checkpointing"),
    (ADAPTS, "random_state", "seed"),
    (ADAPTS, "lora_alpha", "alpha"),
    ("peft.LoraConfig", "r", "rank"),
    ("peft.LoraConfig", "task_type", "task"),
    ("trl.SFTConfig", "eval_strategy", "evaluation_strategy"),
    ("trl.SFTConfig", "max_length", "max_seq_length"),
    ("trl.experimental.orpo.ORPOConfig", "disable_dropout", "dropout"),
    ("trl.SFTTrainer", "processing_class", "tokenizer"),
    ("transformers.BitsAndBytesConfig", "bnb_4bit_compute_dtype", "bnb_compute_dtype"),
    ("transformers.AutoModelForCausalLM.from_pretrained", "quantization_config", "quantization"),
    ("unsloth.forward", "packed_seq_lengths", "seq_lengths"),
]
"""Names of earlier versions, of a neighbour, or of our own recipes."""


def complaints(found: list[Call]) -> list[str]:
    return [
        f"{call.callee} takes no {name_of(node)}"
        for call in found
        for node in call.names
        if name_of(node) not in accepted(call.callee)
    ]


def test_every_argument_is_taken() -> None:
    found = list(calls(sources(ROOT)))
    assert {callee for callee, _, _ in PLANTED} <= {call.callee for call in found}
    assert sum(len(call.names) for call in found) > 90
    assert complaints(found) == []


@pytest.mark.parametrize(("callee", "name", "wrong"), PLANTED)
def test_a_wrong_argument_is_caught(callee: str, name: str, wrong: str) -> None:
    found = list(calls(sources(ROOT)))
    for node in (one for call in found if call.callee == callee for one in call.names):
        if name_of(node) == name:
            rename(node, wrong)
    assert f"{callee} takes no {wrong}" in complaints(found)
    assert {line.rpartition(" ")[2] for line in complaints(found)} == {wrong}


def test_any_argument_that_is_wrong_is_caught() -> None:
    found = list(calls(sources(ROOT)))
    for node in {id(one): one for call in found for one in call.names}.values():
        name = name_of(node)
        rename(node, f"{name}_")
        assert complaints(found), name
        rename(node, name)
    assert complaints(found) == []


def test_what_unsloth_takes_was_read_from_the_locked_wheel() -> None:
    """Otherwise: python -m tests.training.backend.signatures"""
    assert json.loads(FILE.read_text())["version"] == locked("unsloth")


@pytest.mark.unsloth
def test_it_is_what_the_installed_one_takes() -> None:
    found = list((ROOT / ".unsloth").glob(f"lib/*/site-packages/unsloth-{locked('unsloth')}*"))
    needs("unsloth", bool(found))
    taken = of_unsloth(lambda file: (found[0].parent / file).read_bytes())
    assert json.loads(FILE.read_text())["accepts"] == taken


@pytest.mark.parametrize(
    "name", ["accelerate", "bitsandbytes", "datasets", "peft", "transformers", "trl"]
)
def test_what_is_installed_here_is_what_trains_on_a_gpu(name: str) -> None:
    assert version(name) == locked(name)
