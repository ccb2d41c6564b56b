"""A model read layer by layer says what the whole model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.training.gate.divergence import divergence, of_logits
from cbt_ray.training.gate.streamed import ROWS, Streamed

pytestmark = pytest.mark.train
SIZE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SEQUENCES = [[1, 5, 9, 4, 4, 8, 2, 9_500, 6, 0, 3], [7, 9_999]]
ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "rope_theta": 500_000.0,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "llama",
        {
            "rope_parameters": {**ROPE, "original_max_position_embeddings": 4},
            "max_position_embeddings": 64,
        },
    ),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "window": ("mistral", {"sliding_window": 4}),
    "qwen2": ("qwen2", {}),
    "half of qwen2 in windows": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
}


def _model(kind: str, folder: Path, dtype: str = "float32") -> Any:
    """A random model, saved in shards; as it is read back in fp32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    name, own = KINDS[kind]
    config = AutoConfig.for_model(name, vocab_size=10_000, **{**SIZE, **own})
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config)
    for value in model.parameters():
        value.data += 0.1 * torch.randn_like(value)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="300KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _adapter(model: Any, folder: Path) -> Any:
    """A random adapter that matters, saved; and the model with it."""
    import torch
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, target_modules=targets))
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value.data, std=0.1)
    adapted.eval().save_pretrained(folder)
    return adapted


def _expected(model: Any) -> list[Any]:
    import torch

    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0] for ids in SEQUENCES]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_streamed_is_the_ordinary_forward(kind: str, dtype: str, tmp_path: Path) -> None:
    import torch

    expected = _expected(_model(kind, tmp_path, dtype))
    model = Streamed(tmp_path)
    assert model.vocabulary == 10_000 > ROWS  # the output matrix is read in more than one piece
    for found, own in zip(model.logits(model.hidden(SEQUENCES)), expected, strict=True):
        torch.testing.assert_close(found, own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["tied", "mistral", "qwen2"])
def test_an_adapter_is_applied_as_peft_does(kind: str, tmp_path: Path) -> None:
    import torch

    plain = _model(kind, tmp_path / "model")
    without = _expected(plain)
    expected = _expected(_adapter(plain, tmp_path / "adapter"))
    model = Streamed(tmp_path / "model", tmp_path / "adapter")
    for found, own, other in zip(
        model.logits(model.hidden(SEQUENCES)), expected, without, strict=True
    ):
        torch.testing.assert_close(found, own, rtol=0, atol=1e-4)
        assert (own - other).abs().max() > 0.1


def test_one_layer_at_a_time_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer is read once for all sequences, and what was read for the one before it is gone by
    then.
    """
    import gc
    import weakref

    _model("qwen2", tmp_path)
    model = Streamed(tmp_path)
    reads: list[tuple[str, int]] = []
    alive: list[Any] = []
    read = model._read

    def watched(module: Any, name: str) -> dict[str, Any]:
        gc.collect()
        weights = read(module, name)
        reads.append((name, sum(one() is not None for one in alive)))
        alive.extend(weakref.ref(value) for value in weights.values())
        return weights

    monkeypatch.setattr(model, "_read", watched)
    model.hidden(SEQUENCES)
    assert [name for name, _ in reads] == ["layers.0", "layers.1", "layers.2", "norm"]
    assert [count for _, count in reads] == [0, 0, 0, 0]


def test_divergence_is_that_of_whole_distributions(tmp_path: Path) -> None:
    import torch

    plain = _model("tied", tmp_path / "model")
    first = _expected(plain)
    second = _expected(_adapter(plain, tmp_path / "adapter"))
    one, other = Streamed(tmp_path / "model"), Streamed(tmp_path / "model", tmp_path / "adapter")
    found = divergence(one, other, (one.hidden(SEQUENCES), other.hidden(SEQUENCES)))
    for nats, mine, theirs in zip(found, first, second, strict=True):
        logs = mine.double().log_softmax(-1), theirs.double().log_softmax(-1)
        expected = (logs[0].exp() * (logs[0] - logs[1])).sum(-1)
        assert expected.min() > 1e-4
        torch.testing.assert_close(nats, expected, rtol=1e-3, atol=0)
        torch.testing.assert_close(of_logits(mine, theirs), expected, rtol=1e-6, atol=0)


def test_logits_far_from_zero_do_not_overflow() -> None:
    import torch

    logits = torch.tensor([[900.0, 899.0, -900.0]])
    assert of_logits(logits, logits).item() == 0
    assert of_logits(logits, logits - 5).item() == pytest.approx(0, abs=1e-12)
    assert of_logits(logits, logits.flip(-1)).item() > 100


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("lost", r"model.norm.weight: expected in a safetensors file"),
        ("shape", r"model.norm.weight: expected \[32\], not \[31\]"),
        ("torn", r"model-.*safetensors: expected a whole safetensors file"),
        ("config", r"config.json: expected a causal language model's settings"),
    ],
)
def test_a_broken_folder_is_one_line(harm: str, reason: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _model("qwen2", tmp_path)
    shard = next(
        file for file in tmp_path.glob("*.safetensors") if "model.norm.weight" in load_file(file)
    )
    weights = load_file(shard)
    norm = weights.pop("model.norm.weight")
    match harm:
        case "lost":
            save_file(weights, shard)
        case "shape":
            save_file({**weights, "model.norm.weight": norm[1:].clone()}, shard)
        case "torn":
            shard.write_bytes(shard.read_bytes()[:-100])
        case _:
            (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=reason) as caught:
        Streamed(tmp_path).hidden(SEQUENCES)
    assert "\n" not in str(caught.value)


def test_another_models_adapter_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _adapter(_model("qwen2", tmp_path / "model"), tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file(
        {name.replace("layers.1.", "layers.7."): value for name, value in load_file(file).items()},
        file,
    )
    with pytest.raises(InputError, match=r"model.layers.7.*: expected a decoder layer of the base"):
        Streamed(tmp_path / "model", tmp_path / "adapter")
