"""A server compared with what its models have to say: the names by which it knows them, how it
reads real prompts, how it goes on after them.

    prompt of training --served.template-- /tokenize
    merged model in fp32 --served.greedy-- the server's own tokens and their probabilities
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbt_ray.count import many
from cbt_ray.llm.inquiry import Inquiry, Spoken
from cbt_ray.training.gate.expected import BEST, Expected
from cbt_ray.training.gate.verdict import Check, Verdict
from cbt_ray.vllm.holding import Model

TIES = {"float32": 0.05, "float16": 0.1, "bfloat16": 0.5}
"""A server may choose another token where the reference prefers its own by less, in nats."""
APART = {"float32": 0.01, "float16": 0.05, "bfloat16": 0.2}
"""Largest mean difference, in nats, of a server's logarithms of probabilities."""
NEARER = 2.0
"""A model that lies so many times as near to what another one should say as to its own is that
one."""
UNKNOWN = 5.0
"""Nats that a server is apart where it has none of the reference's likeliest tokens."""


@dataclass(frozen=True)
class Asker:
    """Asks one server about its models; `dtype` says how exact an answer can be."""

    inquiry: Inquiry
    dtype: str
    context: int

    def verdicts(self, models: Sequence[Model]) -> dict[str, Verdict]:
        """What is found of each model, by its name."""
        listed = self.inquiry.models()
        names = [one.name for one in models if one.name in listed]
        return {one.name: self._verdict(one, listed, names) for one in models}

    def _verdict(
        self, model: Model, listed: Mapping[str, int | None], names: Sequence[str]
    ) -> Verdict:
        here = self._listed(model, listed)
        if not here.passed:
            return Verdict((here,))
        return Verdict((here, self._template(model), self._greedy(model, names)))

    def _listed(self, model: Model, listed: Mapping[str, int | None]) -> Check:
        context = listed.get(model.name)
        measured = {"models": sorted(listed), "context": context}
        expected = f"a model {model.name} with a context of {many(self.context, 'token')}"
        passed = model.name in listed and context in (None, self.context)
        return Check("served.models", passed, measured, expected)

    def _template(self, model: Model) -> Check:
        different, asked = [], 0
        for number, one in enumerate(model.expected, 1):
            if one.messages is not None:
                asked += 1
                if self.inquiry.tokens(model.name, one.messages) != one.ids:
                    different.append(number)
        measured = {"prompts": asked, "different": different}
        expected = "the tokens of training for every prompt, by the server's own chat template"
        return Check("served.template", not different, measured, expected)

    def _greedy(self, model: Model, names: Sequence[str]) -> Check:
        prompts = [one for one in model.expected if one.said]
        most = max((len(one.said) for one in prompts), default=0)
        found = {
            name: _compared(prompts, self._spoken(name, prompts, most), TIES[self.dtype])
            for name in names
        }
        own, limit = found[model.name], APART[self.dtype]
        nearest = min(names, key=lambda name: found[name].apart)
        other = nearest if found[nearest].apart * NEARER < own.apart else None
        right = own.different == 0 and own.apart <= limit and other is None
        measured = own.to_json() | ({"says what is due to": other} if other else {})
        expected = (
            f"the tokens of the merged model in fp32, within {TIES[self.dtype]} nats, and "
            f"probabilities within {limit} on average"
        )
        return Check("served.greedy", right and own.tokens > 0, measured, expected)

    def _spoken(self, name: str, prompts: Sequence[Expected], most: int) -> list[Spoken]:
        return self.inquiry.spoken(name, [one.ids for one in prompts], most, BEST)


@dataclass(frozen=True)
class _Compared:
    """How far answers are from what was due, over all places with the same words before them."""

    tokens: int
    ties: int
    different: int
    apart: float

    def to_json(self) -> dict[str, Any]:
        counts = {"tokens": self.tokens, "ties": self.ties, "different": self.different}
        return {**counts, "apart": round(self.apart, 6)}


def _compared(due: Sequence[Expected], spoken: Sequence[Spoken], tie: float) -> _Compared:
    tokens = ties = different = 0
    apart: list[float] = []
    for one, other in zip(due, spoken, strict=True):
        for place, row in enumerate(one.best[: len(other.tokens)]):
            token, (first, nats) = other.tokens[place], next(iter(row.items()))
            tokens += 1
            apart.append(_apart(row, other.best[place]))
            if token != first:
                close = token in row and nats - row[token] < tie
                ties, different = ties + close, different + (not close)
            if token != one.said[place]:
                break  # other words from here on
    return _Compared(tokens, ties, different, sum(apart) / len(apart) if apart else UNKNOWN)


def _apart(due: Mapping[int, float], found: Mapping[int, float]) -> float:
    both = due.keys() & found.keys()
    if not both:
        return UNKNOWN
    return sum(abs(due[token] - found[token]) for token in both) / len(both)
