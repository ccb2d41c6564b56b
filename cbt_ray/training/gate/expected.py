"""What a server has to say in a model's place: real prompts with their tokens, and how the model
goes on after them in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cbt_ray.llm.request import Message
from cbt_ray.training.gate.heard import Asked, Spoken

BEST = 3
"""Tokens that are kept at each place, the likeliest first."""


@dataclass(frozen=True)
class Expected:
    """One prompt: its messages (None of a plain text) and tokens, what follows, and what the model
    finds likeliest at each place of that, with natural logarithms of the probabilities.
    """

    messages: tuple[Message, ...] | None
    ids: list[int]
    said: list[int] = field(default_factory=list)
    best: list[dict[int, float]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As it is in the model's unit."""
        return {
            "messages": self.messages and [one.to_json() for one in self.messages],
            "ids": self.ids,
            "said": self.said,
            "best": [list(map(list, row.items())) for row in self.best],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Expected:
        """Read back from a unit's content."""
        said = value["messages"]
        messages = said and tuple(Message(one["role"], one["content"]) for one in said)
        best = [{int(token): float(nats) for token, nats in row} for row in value["best"]]
        return cls(messages, value["ids"], value["said"], best)


def expected(
    asked: Sequence[Asked], spoken: Sequence[Spoken], logits: Sequence[Any]
) -> Iterator[Expected]:
    """Of every prompt its tokens, and of those that were continued what the reference finds there.

    `logits` are the reference's on the tokens that llama.cpp spoke.
    """
    for number, one in enumerate(asked):
        rows = [_best(row) for row in logits[number]] if number < len(logits) else []
        said = spoken[number].tokens[: len(rows)] if rows else []
        yield Expected(one.messages, one.ids, said, rows[: len(said)])


def _best(row: Any) -> dict[int, float]:
    import numpy

    exact = row.astype(numpy.float64)
    exact -= exact.max()
    nats = exact - numpy.log(numpy.exp(exact).sum())
    return {int(at): round(float(nats[at]), 4) for at in numpy.argsort(-nats)[:BEST]}
