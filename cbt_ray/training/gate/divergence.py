"""How far the predictions of two models lie apart: Kullback-Leibler divergence, summed in double
over slices of the vocabulary.

In single precision the sums of a vocabulary are off by about as much as the divergence that a merge
is allowed.
"""

from __future__ import annotations

from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.training.gate.streamed import Streamed


def divergence(
    expected: Streamed, found: Streamed, states: tuple[list[Any], list[Any]]
) -> list[Any]:
    """KL(expected || found) in nats at each position of each sequence.

    `states` is what each model's `hidden` gave.
    """
    sums = [_Sums() for _ in states[0]]
    for one, other in zip(expected.output(), found.output(), strict=True):
        if one.shape != other.shape:
            raise InputError(
                f"vocabulary: expected rows and width {list(one.shape)}, not {list(other.shape)}"
            )
        for sum_, mine, theirs in zip(sums, *states, strict=True):
            sum_.add((mine @ one.T).double(), (theirs @ other.T).double())
    return [sum_.divergence() for sum_ in sums]


def of_logits(expected: Any, found: Any) -> Any:
    """KL(expected || found) in nats at each position, from logits [positions, vocabulary]."""
    sums = _Sums()
    sums.add(expected.double(), found.double())
    return sums.divergence()


class _Sums:
    """What the divergence at each position of one sequence needs, the largest logit so far taken
    out of every exponent.
    """

    def __init__(self) -> None:
        self._expected: tuple[Any, Any] | None = None
        self._found: tuple[Any, Any] | None = None
        self._cross: Any = 0.0

    def add(self, expected: Any, found: Any) -> None:
        """Logits of the next slice of the vocabulary."""
        top, weights, kept = _weigh(self._expected, expected)
        self._cross = self._cross * kept + (weights * (expected - found)).sum(-1)
        self._expected = (
            top,
            (self._expected[1] * kept if self._expected else 0.0) + weights.sum(-1),
        )
        top, weights, kept = _weigh(self._found, found)
        self._found = top, (self._found[1] * kept if self._found else 0.0) + weights.sum(-1)

    def divergence(self) -> Any:
        """Nats at each position."""
        if self._expected is None or self._found is None:
            raise ValueError("no logits were added")
        (top, total), (other_top, other_total) = self._expected, self._found
        return self._cross / total - (top + total.log()) + (other_top + other_total.log())


def _weigh(before: tuple[Any, Any] | None, logits: Any) -> tuple[Any, Any, Any]:
    """The largest logit so far, exp(logit - largest), and what earlier sums shrink by."""
    top = logits.amax(-1)
    if before is not None:
        top = top.maximum(before[0])
    return top, (logits - top[:, None]).exp(), 1.0 if before is None else (before[0] - top).exp()
