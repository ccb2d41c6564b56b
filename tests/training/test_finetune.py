"""From a dataset to a GGUF that llama.cpp runs, and what its checks catch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.store.folder import FolderStore
from cbt_ray.store.store import sha256_of
from cbt_ray.study.model import Recipe
from cbt_ray.training.backend import Progress
from cbt_ray.training.base import Base
from cbt_ray.training.checkpoint import StoreCheckpoints
from cbt_ray.training.dataset import Splits, write
from cbt_ray.training.finetune import Tuned, export_compared, tune
from cbt_ray.training.gguf import CONVERTER, Gguf, check, convert
from cbt_ray.training.merge import merge
from cbt_ray.unit import Key, Stage
from tests.training.conftest import EMBEDDED

pytestmark = [pytest.mark.train, pytest.mark.llama]
PROMPT = "<|im_start|>user\nI slept 12.5 hours, it's 2024…<|im_end|>\n<|im_start|>assistant\n"
KEY = Key("study", Stage.FINETUNE, "smollm2-tuned", "0" * 16)


@pytest.fixture(scope="module")
def own() -> Recipe:
    """Few steps and a high rate: enough to learn when to stop."""
    more = {"licence": "Apache-2.0", "learning_rate": 1e-3, "warmup_steps": 1, "batch": 1, "accumulation": 1}
    return Recipe.model_validate({"start": EMBEDDED, "compare": EMBEDDED, "max_steps": 6, "max_length": 224, **more})


@pytest.fixture(scope="module")
def store(work: Path) -> FolderStore:
    return FolderStore(work / "store")


@pytest.fixture(scope="module")
def tuned(own: Recipe, base: Base, work: Path, splits: Splits, store: FolderStore) -> Tuned:
    checkpoints = StoreCheckpoints(store, KEY, work / "checkpoints")
    steps: list[Progress] = []
    made = tune(own, write(splits, work / "dataset"), work, checkpoints, steps.append, threads=2)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    return made


@pytest.fixture(scope="module")
def small(tiny: Base, work: Path) -> Gguf:
    """The tiny model as a GGUF."""
    return convert(merge(tiny, None, work / "tiny-merged"), work / "tiny.gguf", "q8_0", 1)


def test_tuning_ends_with_a_gguf_that_stops_by_itself(tuned: Tuned) -> None:
    metrics = tuned.metrics
    assert tuned.sha256 == sha256_of(tuned.gguf)
    assert metrics["held_out_after"] < metrics["held_out_before"]
    assert metrics["prompt_parity"] == {"prompts": 4, "equal": True}
    assert metrics["stops_by_itself"]["stopped"] >= 2
    assert metrics["stops_by_itself"]["leaked"] == 0


def test_metrics_say_what_was_done(tuned: Tuned, base: Base) -> None:
    metrics = tuned.metrics
    assert json.loads(json.dumps(metrics)) == metrics
    assert metrics["examples"] == {"train": 9, "held_out": 3, "test": 0}
    assert len(metrics["loss"]) == metrics["steps"] == 6
    assert 0 < metrics["supervised_tokens"] < metrics["tokens"]
    assert metrics["longest"] <= 224
    assert metrics["base_sha256"] == base.digest
    assert all(metrics["versions"].values())


def test_checkpoints_stay_until_they_are_cleared(tuned: Tuned, store: FolderStore, work: Path) -> None:
    checkpoints = StoreCheckpoints(store, KEY, work / "again")
    found = checkpoints.latest()
    assert found is not None
    assert found[0] == 6 == tuned.metrics["steps"]
    checkpoints.clear()
    assert list(store.list("study/")) == []


def test_the_compared_model_differs_in_its_weights_only(tuned: Tuned, own: Recipe, base: Base, work: Path) -> None:
    from gguf import GGUFReader

    exported = export_compared(own, work, threads=2)
    assert exported.sha256 == sha256_of(exported.gguf) != tuned.sha256
    assert exported.metrics["base_sha256"] == base.digest
    one, other = GGUFReader(exported.gguf), GGUFReader(tuned.gguf)
    assert {name: field.contents() for name, field in one.fields.items()} == {n: f.contents() for n, f in other.fields.items()}
    described = [[(tensor.name, tensor.tensor_type, list(tensor.shape)) for tensor in reader.tensors] for reader in (one, other)]
    assert described[0] == described[1]


def test_the_merge_is_as_good_as_the_unmerged_and_bf16_would_not_be(tuned: Tuned, base: Base, tmp_path: Path) -> None:
    """What a short training gained is small: bf16 rounds a good part of it away, and Q8_0 behind it would hide that."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def logs(model: Any) -> Any:
        with torch.no_grad():
            return model.eval()(torch.tensor([base.tokenizer.encode(PROMPT)[0]])).logits[0].double().log_softmax(-1)

    def load(folder: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    expected = logs(PeftModel.from_pretrained(load(base.folder), tuned.adapter))
    merged = load(merge(base, tuned.adapter, tmp_path / "merged"))
    found = [logs(merged), logs(merged.bfloat16().float())]  # the second call changes the model itself
    as_f16, as_bf16 = (float((expected.exp() * (expected - one)).sum(-1).mean()) for one in found)
    assert as_f16 < 1e-5 < as_bf16


def test_a_conversion_has_the_tokenizer_of_training(small: Gguf, tiny: Base) -> None:
    assert small.sha256 == sha256_of(small.path)
    assert check(small.path, tiny, [PROMPT], 1, answers=0) == {"prompt_parity": {"prompts": 1, "equal": True}}


def test_an_untrained_model_does_not_stop(small: Gguf, tiny: Base) -> None:
    answers = check(small.path, tiny, [PROMPT], 1, answers=1)["stops_by_itself"]
    assert answers == {"prompts": 1, "stopped": 0, "leaked": answers["leaked"], "limit": 160, "tokens": [160]}


@pytest.mark.parametrize("harm", ["template", "eos", "bos", "tokenizer"])
def test_a_gguf_that_does_not_fit_the_training_is_refused(small: Gguf, tiny: Base, harm: str, tmp_path: Path) -> None:
    match harm:
        case "template":
            source = tiny.template.source + " "
            other = replace(tiny, template=ChatTemplate(source, tiny.template.bos, tiny.template.eos))
            reason = "chat template: expected the one of training"
        case "eos":
            other, reason = replace(tiny, eos_id=0), "eos: expected 0, as in training, not 2"
        case "bos":
            other, reason = replace(tiny, bos_id=0), "bos: expected 0, as in training, not 1"
        case _:
            tokenizer = json.loads((tiny.folder / "tokenizer.json").read_text())
            del tokenizer["model"]["merges"][40:]
            (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
            other, reason = replace(tiny, folder=tmp_path), "llama.cpp tokenizes as training did; prompt 1 differs"
    with pytest.raises(InputError, match=reason):
        check(small.path, other, [PROMPT], 1, answers=0)


def test_a_torn_gguf_is_refused(small: Gguf, tiny: Base, tmp_path: Path) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(small.path.read_bytes()[:-100_000])
    with pytest.raises(InputError, match=r"torn.gguf: expected a GGUF that llama.cpp loads"):
        check(torn, tiny, [PROMPT], 1, answers=0)


def test_a_folder_that_cannot_be_converted_is_one_line(tiny: Base, tmp_path: Path) -> None:
    folder = merge(tiny, None, tmp_path / "merged")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}))
    with pytest.raises(InputError, match=r"expected a model that llama.cpp's converter takes \(.+\)") as caught:
        convert(folder, tmp_path / "x.gguf", "q8_0", 1)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*x.gguf"))


def test_an_absent_converter_is_named(tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONVERTER, str(tmp_path / "nowhere.py"))
    with pytest.raises(InputError, match=rf"nowhere.py: expected llama.cpp's converter; .*{CONVERTER}"):
        convert(tiny.folder, tmp_path / "x.gguf", "q8_0", 1)
