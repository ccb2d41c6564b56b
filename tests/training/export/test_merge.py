"""The merged model says what adapter and base say together, and speaks to the same template."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.training.export.merge import merge
from cbt_ray.training.start.base import Base
from tests.stages.loaded import divergence, load, said

pytestmark = pytest.mark.train
TEXT = "<|im_start|>user\nI slept 3 hours and feel useless.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def tuned(tiny: Base) -> Any:
    """The tiny model in fp32 with an adapter that matters."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(load(tiny.folder), LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value.data, std=0.05)
    return model.eval()


@pytest.fixture(scope="module")
def adapter(tuned: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    tuned.save_pretrained(folder)
    return folder


def _logs(model: Any, base: Base) -> Any:
    import torch

    return said(model, torch.tensor([base.tokenizer.encode(TEXT)[0]]))


def test_merged_says_what_base_and_adapter_say(
    tiny: Base, tuned: Any, adapter: Path, tmp_path: Path
) -> None:
    expected = _logs(tuned, tiny)
    merged = load(merge(tiny, adapter, tmp_path / "merged"))
    assert divergence(expected, _logs(merged, tiny)) < 1e-5
    assert divergence(expected, _logs(load(tiny.folder), tiny)) > 1e-3


def test_weights_are_those_of_peft_rounded_once(tiny: Base, adapter: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    expected = PeftModel.from_pretrained(load(tiny.folder), adapter).merge_and_unload().state_dict()
    found = load_file(merge(tiny, adapter, tmp_path / "merged") / "model.safetensors")
    for name, value in found.items():
        assert value.dtype == torch.float16
        torch.testing.assert_close(value, expected[name].half(), rtol=2e-3, atol=1e-6)


def test_tokenizer_and_template_are_copied_byte_for_byte(
    tiny: Base, adapter: Path, tmp_path: Path
) -> None:
    merged = merge(tiny, adapter, tmp_path / "merged")
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        assert (merged / name).read_bytes() == (tiny.folder / name).read_bytes()
    assert json.loads((merged / "config.json").read_text())["dtype"] == "float16"


def test_without_an_adapter_the_base_is_rounded_the_same_way(tiny: Base, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    before = load_file(tiny.folder / "model.safetensors")
    after = load_file(merge(tiny, None, tmp_path / "merged") / "model.safetensors")
    assert all(after[name].equal(value.half()) for name, value in before.items())


def test_shards_are_merged_one_by_one(tiny: Base, adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    sharded = tmp_path / "sharded"
    load(tiny.folder).save_pretrained(sharded, max_shard_size="2MB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    merged = merge(replace(tiny, folder=sharded), adapter, tmp_path / "merged")
    whole = load_file(merge(tiny, adapter, tmp_path / "whole") / "model.safetensors")
    parts = {
        name: value
        for file in merged.glob("*.safetensors")
        for name, value in load_file(file).items()
    }
    assert parts.keys() == whole.keys()
    assert all(parts[name].equal(value) for name, value in whole.items())
    assert (merged / "model.safetensors.index.json").exists()


def test_an_adapter_of_another_model_is_refused(tiny: Base, adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "adapter_config.json").write_bytes(
        (adapter / "adapter_config.json").read_bytes()
    )
    weights = {
        name.replace("layers.1.", "layers.7."): one
        for name, one in load_file(adapter / "adapter_model.safetensors").items()
    }
    save_file(weights, tmp_path / "other" / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"expected the base it was trained on; model.layers.7"):
        merge(tiny, tmp_path / "other", tmp_path / "merged")


def test_weights_beyond_f16_are_refused(tiny: Base, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    huge = tmp_path / "huge"
    huge.mkdir()
    weights = load_file(tiny.folder / "model.safetensors")
    weights["model.norm.weight"][0] = 70_000.0
    save_file(weights, huge / "model.safetensors")
    (huge / "config.json").write_bytes((tiny.folder / "config.json").read_bytes())
    with pytest.raises(
        InputError, match=r"model.norm.weight: expected weights within the range of f16"
    ):
        merge(replace(tiny, folder=huge), None, tmp_path / "merged")


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
def test_shards_are_to_the_byte_what_the_library_writes_of_the_same_weights(
    tiny: Base, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    base = replace(tiny, folder=tmp_path / "base")
    base.folder.mkdir()
    (base.folder / "config.json").write_bytes((tiny.folder / "config.json").read_bytes())
    weights = {
        name: one.to(getattr(torch, stored))
        for name, one in load_file(tiny.folder / "model.safetensors").items()
    }
    save_file(weights, base.folder / "model.safetensors")
    monkeypatch.setattr(
        "cbt_ray.training.shard.ROWS", 5 * 64 * 4
    )  # five rows of the embedding at a time
    merged = merge(base, adapter, tmp_path / "merged") / "model.safetensors"
    save_file(_by_the_library(base, adapter), tmp_path / "expected", metadata={"format": "pt"})
    assert merged.read_bytes() == (tmp_path / "expected").read_bytes()


def _by_the_library(base: Base, adapter: Path) -> dict[str, Any]:
    """All in memory at once: W + alpha/r * B A in fp32, rounded to f16."""
    from safetensors.torch import load_file

    pairs = load_file(adapter / "adapter_model.safetensors")
    weights = load_file(base.folder / "model.safetensors")
    for name, weight in weights.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_B.weight" in pairs:
            weights[name] = weight.float() + 2.0 * (
                pairs[f"{stem}.lora_B.weight"] @ pairs[f"{stem}.lora_A.weight"]
            )
    return {name: weight.half() for name, weight in weights.items()}


@pytest.mark.parametrize(
    "shapes", [{"b": (3, 5), "a.z": (3,), "Ü": (0, 4), "s": ()}, {"x": (7, 2, 3)}, {}]
)
def test_shapes_at_the_edges_are_written_as_the_library_does(
    shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    from cbt_ray.training.shard import write_f16

    torch.manual_seed(5)
    weights = {name: torch.randn(shape).half() for name, shape in shapes.items()}
    save_file(weights, tmp_path / "expected", metadata={"format": "pt"})
    write_f16(tmp_path / "found", shapes, lambda name: iter([weights[name]]))
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
    with pytest.raises(ValueError, match="expected pieces that fill"):
        write_f16(tmp_path / "short", {"x": (2, 2)}, lambda _: iter([torch.zeros(2).half()]))


def test_only_the_files_that_the_index_names_are_merged_and_it_says_their_size(
    tiny: Base, adapter: Path, tmp_path: Path
) -> None:
    sharded = tmp_path / "sharded"
    load(tiny.folder).save_pretrained(sharded, max_shard_size="2MB")
    (sharded / "consolidated.safetensors").write_bytes(b"another form of the same weights")
    merged = merge(replace(tiny, folder=sharded), adapter, tmp_path / "merged")
    assert not (merged / "consolidated.safetensors").exists()
    before, after = (
        json.loads((folder / "model.safetensors.index.json").read_text())
        for folder in (sharded, merged)
    )
    assert after["weight_map"] == before["weight_map"]
    assert 2 * after["metadata"]["total_size"] == before["metadata"]["total_size"]


@pytest.mark.parametrize("harm", ["cut", "text", "integers"])
def test_what_is_no_whole_safetensors_file_is_refused(
    tiny: Base, tmp_path: Path, harm: str
) -> None:
    import torch
    from safetensors.torch import save_file

    file = tmp_path / "base" / "model.safetensors"
    file.parent.mkdir()
    if harm == "integers":
        save_file({"model.norm.weight": torch.ones(3, dtype=torch.int8)}, file)
    else:
        file.write_bytes(
            (tiny.folder / "model.safetensors").read_bytes()[:-1]
            if harm == "cut"
            else b"no weights at all"
        )
    with pytest.raises(InputError, match=r"model\.safetensors: .*expected"):
        merge(replace(tiny, folder=file.parent), None, tmp_path / "merged")
