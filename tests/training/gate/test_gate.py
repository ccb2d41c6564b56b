"""The parity gate passes what is whole, and names what is harmed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.backend import open_backend
from cbt_ray.training.backend.job import Job
from cbt_ray.training.dataset import ALPACA, Splits
from cbt_ray.training.export.gguf import convert
from cbt_ray.training.export.merge import merge
from cbt_ray.training.gate.gate import Check, Verdict, gate
from cbt_ray.training.mask import mask
from cbt_ray.training.start.base import Base
from tests.training.backend.runs import Nowhere
from tests.training.conftest import EMBEDDED

pytestmark = [pytest.mark.train, pytest.mark.llama]
Prompt = list[Message] | str


@dataclass(frozen=True)
class Made:
    """A model from its adapter to its GGUF files."""

    base: Base
    adapter: Path | None
    merged: Path
    f16: Path
    quantized: Path

    def judge(self, prompts: Sequence[Prompt], *, tuned: bool = False) -> Verdict:
        return gate(
            self.base, self.adapter, self.merged, self.f16, self.quantized, prompts, 2, tuned=tuned
        )


def _make(
    base: Base, adapter: Path | None, folder: Path, quantizations: Sequence[str] = ("f16", "q8_0")
) -> Made:
    merged = merge(base, adapter, folder / "merged")
    files = [convert(merged, folder / f"{name}.gguf", name, 2).path for name in quantizations]
    return Made(base, adapter, merged, files[0], files[-1])


def _prompts(splits: Splits) -> list[Prompt]:
    """What stands before a therapist's turn of the held-out patient, each time another one."""
    prompts: list[Prompt] = []
    for number, example in enumerate(splits.held_out):
        messages = [Message(one["role"], one["content"]) for one in example["messages"]]
        turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
        prompts += [messages[: turns[number % len(turns)]], messages[: turns[-1]]]
    return prompts


def _rounded(folder: Path, target: Path) -> Path:
    """The same model, its weights rounded to bf16 on the way to f16."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    weights = {
        name: value.bfloat16().half()
        for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def _rewritten(
    source: Path, target: Path, changes: dict[str, Any], rows: int | None = None
) -> Path:
    """A GGUF with other metadata (None takes a field out) and the first rows of its vocabulary."""
    from gguf import GGUFReader, GGUFWriter
    from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

    reader = GGUFReader(source)
    fields = {name: reader.fields[name] for name in changes}
    new = {
        name: MetadataDetails(field.types[0], change(field.contents()))
        for name, field in fields.items()
        if (change := changes[name]) is not None
    }
    for index, tensor in enumerate(reader.tensors):
        if rows is not None and tensor.name == "token_embd.weight":
            reader.tensors[index] = tensor._replace(data=tensor.data[:rows])
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    copy_with_new_metadata(
        reader, writer, new, [name for name, change in changes.items() if change is None]
    )
    return target


def _measured(verdict: Verdict, name: str) -> dict[str, Any]:
    return _check(verdict, name).measured


def _check(verdict: Verdict, name: str) -> Check:
    (found,) = [check for check in verdict.checks if check.name == name]
    return found


@pytest.fixture(scope="module")
def prompts(splits: Splits) -> list[Prompt]:
    return _prompts(splits)


@pytest.fixture(scope="module")
def own(base: Base, splits: Splits, work: Path) -> Made:
    """The embedded model after six steps: enough to learn when to stop."""
    more = {
        "licence": "Apache-2.0",
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "batch": 1,
        "accumulation": 1,
    }
    recipe = Recipe.model_validate(
        {"start": EMBEDDED, "compare": EMBEDDED, "max_steps": 6, "max_length": 224, **more}
    )
    windows = mask(splits.train, base.template, base.tokenizer, recipe.max_length).windows
    job = Job(recipe, base, windows, {}, work / "gate-training", threads=2)
    trained = open_backend("trl").train(job, Nowhere(), lambda _step: None)
    return _make(base, trained.adapter, work / "gate")


@pytest.fixture(scope="module")
def small(tiny: Base, work: Path) -> Made:
    """The tiny model with a random adapter that matters."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    plain = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    model = get_peft_model(
        plain,
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]),
    )
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value.data, std=0.05)
    model.save_pretrained(work / "gate-adapter")
    return _make(tiny, work / "gate-adapter", work / "gate-tiny")


@pytest.fixture(scope="module")
def plain(tiny: Base, work: Path) -> Made:
    """The tiny model without an adapter, in one file."""
    return _make(tiny, None, work / "gate-plain", ["f16"])


def test_a_tuned_model_passes(own: Made, prompts: list[Prompt]) -> None:
    verdict = own.judge(prompts, tuned=True)
    names = [
        "loads",
        "merge",
        "template",
        "special",
        "tokens",
        "greedy",
        "quantized",
        "stops",
        "leaks",
    ]
    assert [check.name for check in verdict.checks] == names
    assert verdict.failed == ()
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False)) == verdict.to_json()
    greedy = _measured(verdict, "greedy")
    assert 0 <= _measured(verdict, "merge")["divergence"] < 1e-5
    assert greedy["divergence"] < 1e-4 < _measured(verdict, "quantized")["divergence"]
    assert greedy["ties"] <= 1
    assert greedy["tokens"] == _measured(verdict, "quantized")["tokens"] > 20
    assert _measured(verdict, "quantized")["agreement"] > 0.7
    assert _measured(verdict, "stops")["ended_by_eos"] >= 3


def test_a_merge_rounded_to_bf16_fails(own: Made, prompts: list[Prompt], tmp_path: Path) -> None:
    """The GGUF is the good one, and bf16 is too near for a greedy token to tell: only the
    divergence shows it.
    """
    verdict = replace(own, merged=_rounded(own.merged, tmp_path / "bf16"), quantized=own.f16).judge(
        prompts
    )
    assert verdict.failed == ("merge",)
    assert _measured(verdict, "merge")["divergence"] > 2e-5


def test_a_tuned_model_whose_eos_was_removed_fails(
    own: Made, prompts: list[Prompt], tmp_path: Path
) -> None:
    """llama.cpp takes another token for the end."""
    harmed = _rewritten(own.quantized, tmp_path / "x.gguf", {"tokenizer.ggml.eos_token_id": None})
    verdict = replace(own, quantized=harmed).judge(prompts[:2], tuned=True)
    assert "special" in verdict.failed
    assert _measured(verdict, "special")["quantized"]["eos_stated"] is None
    assert _measured(verdict, "special")["f16"]["eos_stated"] == 2


def test_the_compared_model_passes_whatever_it_answers(plain: Made, prompts: list[Prompt]) -> None:
    """Random weights answer without an end: reported, where a tuned model would fail."""
    verdict = plain.judge(prompts)
    assert verdict.failed == ()
    assert _check(verdict, "stops").passed is None
    assert _measured(verdict, "stops")["tokens"] == [160] * 6
    assert _measured(verdict, "quantized") == {"same_file": True}
    assert "stops" in plain.judge(prompts[:1], tuned=True).failed


def test_a_small_model_passes_on_messages_and_on_plain_texts(
    small: Made, prompts: list[Prompt]
) -> None:
    plain = ALPACA.format(
        instruction="Be a therapist.", history="Patient: I can't sleep.", response=""
    )
    assert small.judge([*prompts, plain]).failed == ()
    assert small.judge([plain]).failed == ()
    assert small.judge([]).failed == ()


def _with(text: str, more: str) -> Callable[[str], str]:
    return lambda source: source.replace(text, more)


def _swapped(one: int, other: int) -> Callable[[list[str]], list[str]]:
    def swap(names: list[str]) -> list[str]:
        names[one], names[other] = names[other], names[one]
        return names

    return swap


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"tokenizer.chat_template": _with("assistant", "therapist")}, ("template",)),
        ({"tokenizer.chat_template": lambda source: source + " "}, ("template",)),
        ({"tokenizer.chat_template": lambda _source: "{{ raise_exception('no') }}"}, ("template",)),
        ({"tokenizer.chat_template": None}, ("template",)),
        ({"tokenizer.ggml.eos_token_id": None}, ("special",)),
        ({"tokenizer.ggml.eos_token_id": lambda _id: 0}, ("special",)),
        ({"tokenizer.ggml.bos_token_id": lambda _id: 3}, ("special",)),
        ({"tokenizer.ggml.merges": lambda merges: merges[:1000]}, ("tokens",)),
        ({"tokenizer.ggml.tokens": _swapped(253, 288)}, ("tokens",)),
        ({"tokenizer.ggml.pre": lambda _name: "llama-bpe"}, ("tokens",)),
    ],
)
def test_harmed_metadata_are_named(
    small: Made,
    prompts: list[Prompt],
    tmp_path: Path,
    changes: dict[str, Any],
    failed: tuple[str, ...],
) -> None:
    harmed = _rewritten(small.f16, tmp_path / "harmed.gguf", changes)
    verdict = replace(small, f16=harmed, quantized=harmed).judge(prompts[:1])
    assert verdict.failed == failed


def test_each_of_two_files_is_judged(small: Made, prompts: list[Prompt], tmp_path: Path) -> None:
    harmed = _rewritten(
        small.quantized,
        tmp_path / "harmed.gguf",
        {"tokenizer.chat_template": lambda source: source + " "},
    )
    verdict = replace(small, quantized=harmed).judge(prompts[:1])
    assert verdict.failed == ("template",)
    assert _measured(verdict, "template") == {
        "prompts": 2,
        "f16": {"different": [], "same_source": True},
        "quantized": {"different": [1, 2], "same_source": False},
    }


def test_a_doubled_bos_is_named(small: Made, prompts: list[Prompt], tmp_path: Path) -> None:
    """Training itself may double it: then both sides agree, and both are wrong."""
    source = "{{ bos_token }}" + small.base.template.source
    harmed = _rewritten(
        small.f16, tmp_path / "x.gguf", {"tokenizer.chat_template": lambda _source: source}
    )
    template = ChatTemplate(source, small.base.template.bos, small.base.template.eos)
    verdict = replace(
        small, base=replace(small.base, template=template), f16=harmed, quantized=harmed
    ).judge(prompts[:1])
    assert verdict.failed == ("tokens",)
    assert _measured(verdict, "tokens")["f16"] == {"different": [], "doubled_bos": 2}


def test_other_weights_are_named(small: Made, plain: Made, prompts: list[Prompt]) -> None:
    """The base without its adapter, which has the right tokenizer and template."""
    verdict = replace(small, f16=plain.f16).judge(prompts)
    assert verdict.failed == ("greedy",)
    assert _measured(verdict, "greedy")["divergence"] > 1e-3


def test_a_merge_without_its_adapter_is_named(
    small: Made, plain: Made, prompts: list[Prompt]
) -> None:
    assert replace(plain, adapter=small.adapter).judge(prompts).failed == ("merge",)


def test_files_that_do_not_load_are_named(
    small: Made, prompts: list[Prompt], tmp_path: Path
) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(small.f16.read_bytes()[:-100_000])
    verdict = replace(small, f16=torn).judge(prompts[:1], tuned=True)
    assert "loads" in verdict.failed
    assert "greedy" not in [check.name for check in verdict.checks]
    assert _check(verdict, "merge").passed
    verdict = replace(small, quantized=tmp_path / "nowhere.gguf").judge(prompts[:1])
    assert verdict.failed == ("loads",)
    assert (
        "nowhere.gguf: expected a GGUF that llama.cpp loads"
        in _measured(verdict, "loads")["faults"][0]
    )
    assert replace(small, f16=torn, quantized=torn).judge(prompts[:1]).failed == ("loads",)


def test_a_merged_folder_that_lacks_a_tensor_is_named(
    small: Made, prompts: list[Prompt], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(small.merged, tmp_path / "merged")
    weights = load_file(small.merged / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "merged" / "model.safetensors")
    verdict = replace(small, merged=tmp_path / "merged").judge(prompts[:1])
    assert verdict.failed == ("merge", "greedy")
    assert "model.norm.weight: expected" in _measured(verdict, "merge")["error"]


def test_a_smaller_vocabulary_is_judged(small: Made, prompts: list[Prompt], tmp_path: Path) -> None:
    """Another model's GGUF may lack tokens of the prompt; llama.cpp then refuses to evaluate it."""

    def cut(values: list[Any]) -> list[Any]:
        return values[:400]

    changes = {f"tokenizer.ggml.{name}": cut for name in ("tokens", "token_type")}
    more = {
        "tokenizer.ggml.merges": lambda merges: merges[:100],
        "llama.vocab_size": lambda _size: 400,
    }
    other = _rewritten(small.f16, tmp_path / "cut.gguf", {**changes, **more}, rows=400)
    verdict = replace(small, f16=other, quantized=other).judge(prompts[:2], tuned=True)
    assert {"tokens", "greedy", "stops"} <= set(verdict.failed)
    assert "merge" not in verdict.failed
    assert "llama_decode" in _measured(verdict, "greedy")["error"]
