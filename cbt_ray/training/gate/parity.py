"""The checks of the parity gate, each a judgement of what was heard and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cbt_ray.count import many
from cbt_ray.training.gate.heard import Asked, Heard
from cbt_ray.training.gate.reference import Reference
from cbt_ray.training.gate.verdict import Check
from cbt_ray.training.start.base import Base

MERGE = 1e-5
"""Largest mean divergence per token, in nats, of the merged file from what was trained."""
TIE = 0.1
"""llama.cpp, which rounds to f16, may choose another token where the merged model in fp32 prefers
its own by less than this.

On the embedded model the logits of the five best tokens were off by 0.06 against each other at
most, by 0.01 on average."""
APART = 1e-3
"""Largest mean divergence, in nats, of llama.cpp from the merged model where it chose its tokens
(2e-6 on the embedded model).

Other weights that happen to choose the same tokens show here."""
FOREIGN = ("<|", "[INST]", "[/INST]", "<<SYS>>", "### Instruction", "### Input", "### Response")
"""What no therapist says: pieces of templates."""


def merge(reference: Reference) -> Check:
    """The merged file against adapter and base."""
    expected = (
        f"a mean divergence of at most {MERGE} nats per token from adapter on base, "
        "unmerged, in fp32"
    )
    if reference.error:
        return Check("merge", False, {"error": reference.error}, expected)
    nats = reference.divergence
    mean = sum(nats) / len(nats)
    measured = {"divergence": _number(mean), "largest": _number(max(nats)), "tokens": len(nats)}
    return Check("merge", mean <= MERGE, measured, expected)


def template(heard: Mapping[str, Heard], base: Base, asked: Sequence[Asked]) -> Check:
    """The prompt as it is served against that of training, as text."""
    measured: dict[str, Any] = {"prompts": sum(one.messages is not None for one in asked)}
    for name, one in heard.items():
        pairs = zip(one.rendered, asked, strict=True)
        different = [number for number, (found, own) in enumerate(pairs, 1) if found != own.text]
        measured[name] = {"different": different, "same_source": one.source == base.template.source}
    passed = all(
        measured[name]["same_source"] and not measured[name]["different"] for name in heard
    )
    return Check(
        "template",
        passed,
        measured,
        "the GGUF's own chat template writes every prompt as in training",
    )


def special(heard: Mapping[str, Heard], base: Base) -> Check:
    """Special tokens' ids. A pad that training took for want of one is compared with nothing."""
    expected = {"eos": base.eos_id, "eos_stated": base.eos_id, "eos_ends": True}
    if base.bos_id is not None:
        expected["bos"] = base.bos_id
    measured = {
        "expected": {**expected, "pad": base.pad_id},
        **{name: one.special for name, one in heard.items()},
    }
    passed = all(
        one.special[name] == value for one in heard.values() for name, value in expected.items()
    )
    if base.pad_id != base.eos_id:
        passed = passed and all(one.special["pad"] in (None, base.pad_id) for one in heard.values())
    return Check(
        "special", passed, measured, "ids of the special tokens as in training, stated in the GGUF"
    )


def tokens(heard: Mapping[str, Heard], base: Base, asked: Sequence[Asked]) -> Check:
    """llama.cpp's ids of the prompts against those of training's tokenizer."""
    measured: dict[str, Any] = {"prompts": len(asked), "tokens": sum(len(one.ids) for one in asked)}
    for name, one in heard.items():
        pairs = zip(one.tokens, asked, strict=True)
        different = [number for number, (found, own) in enumerate(pairs, 1) if found != own.ids]
        doubled = sum(
            base.bos_id is not None and found[:2] == [base.bos_id] * 2 for found in one.tokens
        )
        measured[name] = {"different": different, "doubled_bos": doubled}
    passed = all(measured[name] == {"different": [], "doubled_bos": 0} for name in heard)
    return Check(
        "tokens",
        passed,
        measured,
        "llama.cpp tokenizes every prompt as training did, with one BOS at most",
    )


def greedy(heard: Heard, reference: Reference) -> Check:
    """llama.cpp's choices on the F16 GGUF against those of the merged file, on llama.cpp's own
    tokens.
    """
    expected = (
        "llama.cpp chooses the tokens of the merged file in fp32; it may differ where "
        f"that prefers its own by less than {TIE}"
    )
    error = heard.error or reference.error
    if error:
        return Check("greedy", False, {"error": error}, expected)
    counted = {"tokens": 0, "equal": 0, "ties": 0}
    margins: list[float] = []
    for spoken, logits in zip(heard.spoken, reference.logits, strict=True):
        found = [_margin(row, token) for row, token in zip(logits, spoken.tokens, strict=False)]
        margins += [margin for margin in found if margin != 0]
        counted["tokens"] += len(spoken.tokens)
        counted["equal"] += sum(margin == 0 for margin in found)
    counted["ties"] = sum(margin < TIE for margin in margins)
    rows = [
        (ours, theirs.logits) for ours, theirs in zip(reference.logits, heard.spoken, strict=True)
    ]
    apart = _apart(rows)
    passed = counted["equal"] + counted["ties"] == counted["tokens"] > 0 and _within(apart, APART)
    return Check(
        "greedy",
        passed,
        {**counted, "largest_margin": _number(max(margins, default=0.0)), **apart},
        expected,
    )


def quantization(first: Heard, second: Heard) -> Check:
    """The quantized GGUF on the tokens that the F16 one chose."""
    expected = "nothing; how far the quantized GGUF is from the F16 one on that one's greedy tokens"
    if first is second:
        return Check("quantized", None, {"same_file": True}, expected)
    chosen = [
        (int(row.argmax()), token)
        for one in second.spoken
        for row, token in zip(one.logits, one.tokens, strict=True)
    ]
    agree = sum(found == token for found, token in chosen) / len(chosen) if chosen else None
    rows = [
        (one.logits, other.logits) for one, other in zip(first.spoken, second.spoken, strict=False)
    ]
    measured = {"tokens": len(chosen), "agreement": agree, **_apart(rows)}
    return Check(
        "quantized",
        None,
        {**measured, **({"error": second.error} if second.error else {})},
        expected,
    )


def stops(heard: Heard, base: Base, limit: int, *, tuned: bool) -> Check:
    """Whether sampled answers end by themselves, with the token that training taught."""
    ended = sum(one.end == base.end_id for one in heard.answers)
    measured = {
        "answers": len(heard.answers),
        "ended_by_eos": ended,
        "ended_otherwise": sum(one.end not in (None, base.end_id) for one in heard.answers),
        "limit": limit,
        "tokens": [len(one.tokens) for one in heard.answers],
    }
    passed = not heard.error and 2 * ended >= len(heard.answers) > 0
    return Check(
        "stops",
        passed if tuned else None,
        measured,
        f"half of the answers end by the EOS of training within {many(limit, 'token')}",
    )


def leaks(heard: Heard, base: Base, *, tuned: bool) -> Check:
    """Whether answers hold pieces of a template."""
    pieces = {*FOREIGN, base.template.bos, base.template.eos, base.template.end} - {""}
    found = [sorted(piece for piece in pieces if piece in one.text) for one in heard.answers]
    measured = {
        "answers": len(found),
        "leaked": sum(map(bool, found)),
        "pieces": sorted({piece for one in found for piece in one}),
    }
    return Check(
        "leaks",
        not measured["leaked"] if tuned else None,
        measured,
        "no piece of a template in any answer",
    )


def _margin(logits: Any, token: int) -> float:
    """By how much a model prefers its own best token to this one."""
    return float(logits.max() - logits[token]) if token < len(logits) else math.inf


def _apart(rows: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Mean and largest divergence of logits; nothing where the vocabularies differ in size."""
    import torch

    from cbt_ray.training.gate.divergence import of_logits

    if not rows or any(one.shape != other.shape for one, other in rows):
        return {}
    nats = torch.cat(
        [of_logits(torch.from_numpy(one), torch.from_numpy(other)) for one, other in rows]
    )
    return {
        "divergence": _number(float(nats.mean())),
        "largest_divergence": _number(float(nats.max())),
    }


def _within(apart: dict[str, Any], limit: float) -> bool:
    mean = apart.get("divergence")
    return mean is not None and mean <= limit


def _number(value: float) -> float | None:
    """JSON knows no infinity and no NaN."""
    return value if math.isfinite(value) else None
