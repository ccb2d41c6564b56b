"""The parity gate: what was trained, what was merged and what llama.cpp runs say the same, before
anyone is given it.

    unmerged, fp32 --merge-- merged file --greedy-- F16 GGUF --quantized-- quantized GGUF
    prompt of training --template, special, tokens-- prompt that llama.cpp is fed

A harmed artefact is judged and named by a check, it raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from jinja2 import TemplateError

from cbt_ray.errors import InputError
from cbt_ray.llm.request import Message
from cbt_ray.training.gate.expected import expected
from cbt_ray.training.gate.heard import LIMIT, Asked, Heard, hear, look
from cbt_ray.training.gate.parity import (
    greedy,
    leaks,
    merge,
    quantization,
    special,
    stops,
    template,
    tokens,
)
from cbt_ray.training.gate.reference import refer
from cbt_ray.training.gate.verdict import Check, Verdict
from cbt_ray.training.start.base import Base

__all__ = ["Check", "Verdict", "foresee", "gate"]
ANSWERS = 6
"""Prompts that are answered, to see the answers end."""
PROBE = (
    Message("system", "You are a therapist."),
    Message("user", "I slept 3 hours, maybe 4.5 — it's 2 am again…\n\nWhat's the point? :-("),
)
"""Asked of template and tokenizer beside the prompts given: digits, apostrophes, line breaks, other
than ASCII."""
SESSION = (
    Message("system", "You are a therapist. Ask one question at a time."),
    Message("user", "I have not left the flat since Friday."),
    Message("assistant", "That sounds like a long weekend. What kept you in?"),
    Message("user", "My sister's visit: she'd see the dishes, the mail, all of it."),
    Message(
        "assistant", "So you pictured her face at the door. What did you take it to mean about you?"
    ),
    Message("user", "That I can't cope. 41 years old, and I can't even cope with a kettle."),
    Message(
        "assistant",
        "Let's write that down as a thought and not as a fact. How much do you believe it, from 0 "
        "to 100?",
    ),
    Message("user", "Eighty? Ninety when I'm tired."),
)
"""Made up; what a model without a dataset is judged on, from its first to its last patient's turn.
"""


def gate(
    base: Base,
    adapter: Path | None,
    merged: Path,
    f16: Path,
    quantized: Path,
    prompts: Sequence[Sequence[Message] | str],
    threads: int,
    *,
    tuned: bool,
    limit: int = LIMIT,
) -> Verdict:
    """Judge an exported model on prompts that end with the patient's turn (or plain texts).

    `limit`: tokens within which an answer has to end. `f16` and `quantized` may be one file. Of a
    model that is not tuned, how its answers end is only reported.
    """
    asked = _asked(prompts, base)
    count = len(prompts) or len(asked)
    answers = {index * count // ANSWERS for index in range(ANSWERS)}
    same = f16 == quantized
    faults: list[str] = []
    listen = partial(hear, base=base, asked=asked, threads=threads, limit=limit)
    first = _hear(
        faults, partial(listen, f16, spoken=count, answers=answers if same else set(), follow=None)
    )
    said = [one.tokens for one in first.spoken] if first else []
    second = (
        first
        if same
        else _hear(
            faults, partial(listen, quantized, spoken=len(said), answers=answers, follow=said)
        )
    )
    reference = refer(base, adapter, merged, [one.ids for one in asked[:count]], said, threads)
    heard = {
        name: one for name, one in (("f16", first), ("quantized", None if same else second)) if one
    }
    checks = [_loads(faults), merge(reference)]
    if heard:
        checks += [template(heard, base, asked), special(heard, base), tokens(heard, base, asked)]
    if first:
        checks.append(greedy(first, reference))
    if first and second:
        checks.append(quantization(first, second))
    if second:
        checks += [stops(second, base, limit, tuned=tuned), leaks(second, base, tuned=tuned)]
    spoken = first.spoken if first else []
    kept = [one.to_json() for one in expected(asked, spoken, reference.logits)]
    return Verdict(tuple(checks), tuple(kept))


def foresee(
    base: Base, prompts: Sequence[Sequence[Message] | str], vocabulary: Path, threads: int
) -> Verdict:
    """Judge what needs no weights, by a GGUF of tokenizer and template alone: no training passes
    what fails here.
    """
    asked = _asked(prompts, base)
    heard = {"vocabulary": look(vocabulary, base, asked, threads)}
    return Verdict((template(heard, base, asked), special(heard, base), tokens(heard, base, asked)))


def _asked(prompts: Sequence[Sequence[Message] | str], base: Base) -> list[Asked]:
    """The prompts, or our own ones where none are given, and after them the probe where the
    template takes it.
    """
    try:
        asked = [
            Asked.of(prompt, base)
            for prompt in prompts or [SESSION[:end] for end in range(2, len(SESSION) + 1, 2)]
        ]
    except TemplateError as error:
        raise InputError(f"chat_template: refuses a prompt ({error})") from error
    try:
        return [*asked, Asked.of(PROBE, base)]
    except TemplateError:
        return asked


def _hear(faults: list[str], listen: Callable[[], Heard]) -> Heard | None:
    """What one file says; a file that says nothing adds to the faults."""
    try:
        return listen()
    except InputError as error:
        faults.append(str(error))
        return None


def _loads(faults: list[str]) -> Check:
    return Check("loads", not faults, {"faults": faults}, "GGUF files that llama.cpp loads")
