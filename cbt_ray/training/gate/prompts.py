"""What an export is judged on, of the dataset: real prompts, and how long an answer may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cbt_ray.llm.request import Message
from cbt_ray.training.dataset import Example, Splits, alpaca
from cbt_ray.training.gate.heard import LIMIT, Asked
from cbt_ray.training.preference import Pair
from cbt_ray.training.start.base import Base

PROMPT_TOKENS = 256
"""Longest prompt on which an export is judged, where there are enough short ones: a large model is
read on a CPU."""
EXAMPLES = 60
"""From how many examples they are taken."""
TURNS = 3
"""From how many turns of each."""
ENDED = 0.95
"""What share of the answers that a model learns from have to fit into the limit of its own."""

Prompt = list[Message] | str


def prompts_of(splits: Splits, base: Base, most: int) -> list[Prompt]:
    """What comes before therapist turns, of held-out text first.

    The short ones where there are enough of them, in the order of the text: a prompt begins as the
    one before it does, so llama.cpp reads little of it anew.
    """
    found = [
        prompt
        for example in (splits.held_out + splits.train)[:EXAMPLES]
        for prompt in _prompts(example)
    ]
    by_length = sorted(((len(Asked.of(one, base).ids), at) for at, one in enumerate(found)))
    short = [at for length, at in by_length if length <= PROMPT_TOKENS]
    chosen = spread(short, most) if len(short) >= most else [at for _, at in by_length[:most]]
    return [found[at] for at in sorted(chosen)]


def limit_of(splits: Splits, pairs: Sequence[Pair], base: Base) -> int:
    """Tokens within which a tuned model's answer has to end: LIMIT, or what the answers that it
    learns from take, if more.
    """
    lengths = sorted(
        [pair.chosen.supervised for pair in pairs]
        or [
            len(base.tokenizer.encode(text)[0]) + 1
            for example in spread(splits.train, EXAMPLES)
            for text in _answers(example)
        ]
    )
    return max(LIMIT, lengths[int(ENDED * (len(lengths) - 1))]) if lengths else LIMIT


def spread(things: list[Any], most: int | None) -> list[Any]:
    """At most so many, evenly over all of them."""
    if most is None or len(things) <= most:
        return things
    return [things[index * len(things) // most] for index in range(most)]


def _prompts(example: Example) -> list[Prompt]:
    if "messages" not in example:
        return [alpaca({**example, "response": ""})]
    messages = [Message(one["role"], one["content"]) for one in example["messages"]]
    turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return [messages[:at] for at in turns[:TURNS]]


def _answers(example: Example) -> list[str]:
    if "messages" not in example:
        return [example["response"]]
    return [one["content"] for one in example["messages"] if one["role"] == "assistant"]
