"""The GPU's kernels against the same numbers from plainer code."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from cbt_ray.training.backend import attention as within_rows
from cbt_ray.training.backend.attention import Segments, one_by_one, varying
from cbt_ray.training.backend.trl_backend import compute_type
from tests.training.export.memory import Shape

Found = dict[str, Any]


def four_bit(shape: Shape) -> Found:
    """NF4 of one layer's weights by the GPU and by the CPU: the share of equal bytes, the
    difference of what they stand for, and that of a product with it.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    from bitsandbytes.nn import Linear4bit

    device, draw = _device(), torch.Generator().manual_seed(3)
    found = {}
    for name in ("self_attn.k_proj", "mlp.down_proj"):
        rows, columns = shape.layer()[name]
        weight = torch.randn(rows, columns, generator=draw) * 0.02
        there, here = (
            quantize_4bit(weight.to(place), quant_type="nf4", compress_statistics=True)
            for place in (device, "cpu")
        )
        meant = dequantize_4bit(*here)
        equal = float((there[0].cpu() == here[0]).float().mean())
        layer = Linear4bit(columns, rows, False, compute_type(), quant_type="nf4")
        layer.load_state_dict({"weight": weight})
        given = torch.randn(64, columns, generator=draw)
        made = layer.to(device)(given.to(device, compute_type())).float().cpu()
        found[name] = {
            "equal_bytes": round(equal, 6),
            "weights_apart": _apart(dequantize_4bit(*there).cpu(), meant),
            "product_apart": _apart(made, given @ meant.T),
        }
    return found


def attention(shape: Shape, length: int) -> Found:
    """Forward and backward pass of one layer's attention over a row of two windows, by the kernel
    where there is one, and by a loop: milliseconds, and how far gradients are apart.
    """
    import torch

    within = Segments([length, length // 3], None)
    module = SimpleNamespace(num_key_value_groups=shape.heads // shape.kv_heads, is_causal=True)
    rows = [_row(shape, sum(within.lengths)) for _ in "ab"]
    kernel = within_rows._has_kernel(rows[0][0], rows[0][2], {})
    ways = {"kernel": varying if kernel else one_by_one, "loop": one_by_one}
    spent = {}
    for (name, way), row in zip(ways.items(), rows, strict=True):
        spent[name] = _milliseconds(lambda way=way, row=row: way(module, *row, within))
    apart = max(_apart(one.grad, other.grad) for one, other in zip(*rows, strict=True))
    found = {"kernel": kernel, "milliseconds": spent, "gradients_apart": apart}
    return {**found, "torch": torch.__version__}


def _row(shape: Shape, tokens: int) -> list[Any]:
    import torch

    draw, size = torch.Generator().manual_seed(5), shape.hidden // shape.heads
    made = [
        torch.randn(1, heads, tokens, size, generator=draw)
        for heads in (shape.heads, shape.kv_heads, shape.kv_heads)
    ]
    return [one.to(_device(), compute_type()).requires_grad_() for one in made]


def _milliseconds(attend: Any) -> float:
    """Of the second of two passes; gradients are those of both."""
    import torch

    for _ in range(2):
        began = time.monotonic()
        attend().square().sum().backward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return round(1000 * (time.monotonic() - began), 2)


def _apart(one: Any, other: Any) -> float:
    """Of the norm."""
    return float((one.float() - other.float()).norm() / other.float().norm())


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
