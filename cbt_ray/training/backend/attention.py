"""Attention within the windows of a row: none sees another, and no mask of the row's square is
made.

transformers tells SDPA by such a mask which tokens belong together: 0.8 GB for 20,000 tokens in
bf16, and the work of all pairs. Its ways around it need a package that is not locked
(`flash_attention_2`) or a compiler (`flex_attention`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from itertools import accumulate, pairwise
from typing import Any

from cbt_ray.errors import InputError

NAME = "sdpa_segments"
"""By which transformers knows it; after `sdpa` it asks whether the model takes SDPA at all."""


@dataclass(frozen=True)
class Segments:
    """Where the windows of a row are: what layers get in place of a mask."""

    lengths: list[int]
    reach: int | None
    """How many tokens one sees, itself included, where a window is longer than that."""


def attend_within(model: Any) -> None:
    """Have a model attend within the windows of a row, where the row has more than one.

    Raises InputError where its attention is not SDPA.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    if (found := model.config._attn_implementation) != "sdpa":
        raise InputError(
            f"batching: expected padded: attention of {type(model).__name__} is {found}, which "
            "needs a mask over the whole row"
        )
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, segments)
    model.set_attn_implementation(NAME)


def segments(
    *,
    batch_size: int,
    q_length: int,
    kv_length: int,
    mask_function: Callable[..., Any],
    attention_mask: Any = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    use_vmap: bool = False,
    device: Any = "cpu",
    **more: Any,
) -> Any:
    """The windows of one row without padding, or SDPA's own mask.

    A token that does not see the one before it begins a window.
    """
    import torch
    from transformers.masking_utils import sdpa_mask

    one_row = batch_size == 1 and q_length == kv_length and attention_mask is None
    if one_row and not allow_is_causal_skip and not use_vmap:
        earlier = torch.arange(q_length - 1, device=device)
        first = earlier.new_zeros(())
        if not mask_function(first, first, earlier, earlier + 1).any():
            sees = mask_function(first, first, earlier + 1, earlier)
            begins = [0, *(1 + (~sees).nonzero()[:, 0]).tolist(), q_length]
            lengths = [end - begin for begin, end in pairwise(begins)]
            reach = local_size if local_size and max(lengths) > local_size else None
            return Segments(lengths, reach)
    return sdpa_mask(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        mask_function=mask_function,
        attention_mask=attention_mask,
        local_size=local_size,
        allow_is_causal_skip=allow_is_causal_skip,
        use_vmap=use_vmap,
        device=device,
        **more,
    )


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any
) -> tuple[Any, None]:
    """SDPA, or within `Segments`."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not isinstance(attention_mask, Segments):
        plain: tuple[Any, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **more
        )
        return plain
    within = varying if _has_kernel(query, value, more) else one_by_one
    return within(module, query, key, value, attention_mask, **more), None


def _has_kernel(query: Any, value: Any, more: dict[str, Any]) -> bool:
    """Whether torch's FlashAttention computes this: from Ampere on, in 16 bit, without dropout, and
    by a torch that lets several heads share a key.
    """
    import torch
    from torch.nn.attention.varlen import varlen_attn

    return bool(
        query.is_cuda
        and "enable_gqa" in signature(varlen_attn).parameters
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] == value.shape[-1] <= 256
        and not more.get("dropout")
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def varying(
    _module: Any,
    query: Any,
    key: Any,
    value: Any,
    within: Segments,
    scaling: float | None = None,
    **_more: Any,
) -> Any:
    """All windows at once, by torch's attention for sequences of varying length."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    bounds = torch.tensor([0, *accumulate(within.lengths)], dtype=torch.int32, device=query.device)
    longest = max(within.lengths)
    attended: Any = varlen_attn(
        *(one[0].transpose(0, 1) for one in (query, key, value)),
        *(bounds, bounds, longest, longest),
        scale=scaling,
        window_size=(within.reach - 1 if within.reach else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended[None]


def one_by_one(module: Any, query: Any, key: Any, value: Any, within: Segments, **more: Any) -> Any:
    """One window after the other."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    parts = zip(*(one.split(within.lengths, 2) for one in (query, key, value)), strict=True)
    return torch.cat(
        [
            sdpa_attention_forward(module, *part, _band(part[0], within), **more)[0]
            for part in parts
        ],
        1,
    )


def _band(query: Any, within: Segments) -> Any:
    """What the tokens of one window see of it, where that is not all before them."""
    import torch

    length = query.shape[2]
    if within.reach is None or length <= within.reach:
        return None
    seen = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return seen.tril().triu(1 - within.reach)[None, None]
