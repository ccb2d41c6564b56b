"""Attention within the windows of a row against SDPA with a mask over the whole row."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from cbt_ray.errors import InputError
from cbt_ray.training.backend import attention
from cbt_ray.training.backend.attention import Segments, attend_within, one_by_one, varying
from tests.needs import needs

LENGTHS = [150, 1, 70, 229, 150]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}


def _model(kind: str, **more: Any) -> Any:
    """Weights large enough that attention is far from even."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(5)
    shape = {**SHAPE, "initializer_range": 0.3, **more}
    return AutoModel.from_config(AutoConfig.for_model(kind, **shape)).train()


def _forward(model: Any, lengths: list[int] | None = None) -> tuple[Any, dict[str, Any]]:
    """Hidden states of a row of windows, and gradients."""
    import torch

    lengths = lengths or LENGTHS
    ids = torch.randint(50, (1, sum(lengths)), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    model.zero_grad()
    hidden = model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    (hidden * torch.linspace(0, 999, hidden.numel()).view_as(hidden).sin()).mean().backward()
    return hidden, {name: one.grad for name, one in model.named_parameters()}


def _same(ours: tuple[Any, dict[str, Any]], theirs: tuple[Any, dict[str, Any]]) -> None:
    import torch

    assert torch.allclose(ours[0], theirs[0], atol=2e-5)
    for name, one in theirs[1].items():
        apart = float((ours[1][name] - one).norm() / one.norm())
        assert apart < 1e-4, f"{name}: {apart:g} of its norm"


def _largest(model: Any) -> int:
    """Numbers in the largest tensor that forward and backward pass make."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        most = 0

        def __torch_dispatch__(
            self, operation: Any, types: Any, arguments: Any = (), more: Any = None
        ) -> Any:
            made = operation(*arguments, **(more or {}))
            for one in made if isinstance(made, tuple | list) else [made]:
                if isinstance(one, torch.Tensor):
                    self.most = max(self.most, one.numel())
            return made

    with Watch() as watch:
        _forward(model)
    return int(watch.most)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("kind", "more"),
    [("llama", {}), ("qwen2", {}), ("mistral", {"sliding_window": 64}), ("mistral", {})],
)
def test_hidden_states_and_gradients_are_those_of_a_mask_over_the_row(
    kind: str, more: dict[str, Any], checkpointing: bool
) -> None:
    masked, within = _model(kind, **more), _model(kind, **more)
    attend_within(within)
    if checkpointing:
        within.gradient_checkpointing_enable()
    _same(_forward(within), _forward(masked))


def test_nothing_of_the_rows_square_is_made() -> None:
    masked, within = _model("llama"), _model("llama")
    attend_within(within)
    square = sum(LENGTHS) ** 2
    assert _largest(masked) >= square
    assert _largest(within) < square / 4


def test_padding_and_one_window_are_left_to_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    masked, within = _model("llama"), _model("llama")
    attend_within(within)
    monkeypatch.setattr(attention, "one_by_one", None)
    ids = torch.arange(40).reshape(2, 20)
    for seen in (torch.ones(2, 20), torch.ones(2, 20).tril(15).flip(1)):
        mine, theirs = (
            one(input_ids=ids, attention_mask=seen.long()).last_hidden_state
            for one in (within, masked)
        )
        assert torch.equal(mine, theirs)
    _same(_forward(within, [40]), _forward(masked, [40]))


def test_a_model_without_sdpa_is_refused() -> None:
    model = _model("llama")
    model.set_attn_implementation("eager")
    with pytest.raises(InputError, match="batching: expected padded: attention of LlamaModel is"):
        attend_within(model)


def _documented(
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Any:
    """What torch's documentation says of `varlen_attn`, by a mask."""
    import torch

    assert cu_seq_q.dtype == torch.int32
    assert max_q == max_k == int(cu_seq_q.diff().max())
    assert window_size[1] == 0, "causal"
    at = torch.arange(len(query))
    segment = torch.bucketize(at, cu_seq_k[1:], right=True)
    seen = (segment[:, None] == segment[None]) & (at[:, None] >= at[None])
    if window_size[0] >= 0:
        seen &= at[:, None] - at[None] <= window_size[0]
    attended = torch.nn.functional.scaled_dot_product_attention(
        *(one.transpose(0, 1)[None] for one in (query, key, value)),
        attn_mask=seen,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    return attended[0].transpose(0, 1)


def _row(device: str = "cpu", dtype: Any = None) -> tuple[Any, ...]:
    import torch

    draw = torch.Generator().manual_seed(2)
    made = (
        torch.randn(1, heads, sum(LENGTHS), 32, generator=draw).to(device, dtype)
        for heads in (4, 2, 2)
    )
    return tuple(one.requires_grad_() for one in made)


class _Grouped:
    num_key_value_groups = 2
    is_causal = True


@pytest.mark.parametrize("reach", [None, 64])
def test_what_the_gpus_kernel_is_asked(monkeypatch: pytest.MonkeyPatch, reach: int | None) -> None:
    """By its documentation, since it runs on a GPU alone; its own code says that it takes this."""
    import torch
    from torch.nn.attention import varlen

    within, scale = Segments(LENGTHS, reach), 1.7 / math.sqrt(32)
    query, key, value = _row("meta", torch.bfloat16)
    there = varying(None, query, key, value, within, scaling=scale)
    there.sum().backward()
    documented, real = (inspect.signature(one) for one in (_documented, varlen.varlen_attn))
    assert documented.parameters.keys() <= real.parameters.keys()
    monkeypatch.setattr(varlen, "varlen_attn", _documented)
    query, key, value = _row()
    ours, theirs = (
        made(_Grouped(), query, key, value, within, scaling=scale) for made in (varying, one_by_one)
    )
    assert there.shape == ours.shape
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("reach", [None, 64])
def test_the_gpus_kernel_says_the_same(reach: int | None) -> None:
    import torch

    needs("cuda", torch.cuda.is_available())
    within = Segments(LENGTHS, reach)
    rows = [_row("cuda", torch.bfloat16) for _ in range(2)]
    assert attention._has_kernel(rows[0][0], rows[0][2], {})
    ours, theirs = (
        made(_Grouped(), *row, within, scaling=0.2)
        for made, row in zip((varying, one_by_one), rows, strict=True)
    )
    assert torch.allclose(ours, theirs, atol=2e-2)
    for one in (ours, theirs):
        one.square().sum().backward()
    for mine, other in zip(*rows, strict=True):
        assert float((mine.grad - other.grad).norm() / other.grad.norm()) < 2e-2
