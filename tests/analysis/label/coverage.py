"""How often the intervals of micro F1, and of its difference, hold the truth: simulated studies.

`python -m tests.analysis.label.coverage` prints the table of docs/statistics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cbt_ray.analysis.label.agreed import agreed
from cbt_ray.analysis.label.labelled import Replies
from cbt_ray.analysis.label.pair import difference

Array = np.ndarray[Any, np.dtype[Any]]
FREQUENCY = np.array([0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05])
"""How often the generator names each of ten labels."""
LEVEL = 0.95


@dataclass(frozen=True)
class Cell:
    """A kind of study."""

    personas: int
    cases: int
    """Of each persona."""
    hits: tuple[float, float]
    """Of the labels that the generator named, the share that either arm names, in logits."""
    extras: tuple[float, float]
    """The same of the other labels."""
    apart: float = 0.0
    """Standard deviation between personas, in logits; two thirds of its square are shared by both
    arms."""


KINDS = {
    "good": ((2.5, 2.0), (-4.0, -3.5)),
    "middling": ((1.0, 0.5), (-2.5, -2.0)),
    "poor": ((-1.5, -1.5), (-1.7, -1.7)),
    "nearly all": ((5.0, 2.0), (-6.0, -3.5)),
}
SIZES = ((20, 1), (50, 2), (100, 1), (20, 5))


def logistic(value: Array) -> Array:
    """A share, from its logit."""
    return np.asarray(1 / (1 + np.exp(-value)))


def study(cell: Cell, draw: np.random.Generator) -> list[Replies]:
    """Both arms of one study."""
    count, labels = cell.personas * cell.cases, len(FREQUENCY)
    persona = np.repeat(np.arange(cell.personas), cell.cases)
    reference = draw.random((count, labels)) < FREQUENCY
    shared = draw.standard_normal(cell.personas) * cell.apart * (2 / 3) ** 0.5
    found = []
    for hit, extra in zip(cell.hits, cell.extras, strict=True):
        own = shared + draw.standard_normal(cell.personas) * cell.apart * (1 / 3) ** 0.5
        skill = own[persona][:, None]
        share = np.where(reference, logistic(hit + skill), logistic(extra - skill))
        named = draw.random((count, labels)) < share
        one = np.ones(count, dtype=int)
        found.append(Replies(np.arange(count), persona, one, one, named, reference))
    return found


def f1(replies: Replies) -> float:
    """Micro F1."""
    both = float((replies.named & replies.reference).sum())
    return 2 * both / float(replies.named.sum() + replies.reference.sum())


def covered(cell: Cell, studies: int, seed: int = 1) -> tuple[float, float]:
    """The shares of studies whose intervals hold the first arm's F1, and the difference."""
    draw = np.random.default_rng(seed)
    whole = [f1(arm) for arm in study(replace(cell, personas=200_000 // cell.cases), draw)]
    held = np.zeros(2)
    for _ in range(studies):
        plus, minus = study(cell, draw)
        both = (agreed(plus, LEVEL).f1, difference(plus, minus, LEVEL))
        truth = (whole[0], whole[0] - whole[1])
        held += [
            found.low is not None and found.high is not None and found.low <= true <= found.high
            for found, true in zip(both, truth, strict=True)
        ]
    return float(held[0]) / studies, float(held[1]) / studies


def table(studies: int) -> Iterator[str]:
    """A row for each kind of arms, a column for each size."""
    sizes = [f"{personas} x {cases}" for personas, cases in SIZES]
    yield f"| F1, difference | {' | '.join(sizes)} |"
    yield "|---" * (len(SIZES) + 1) + "|"
    for name, (hits, extras) in KINDS.items():
        for apart in (0.0, 1.0):
            cells = (Cell(*size, hits, extras, apart) for size in SIZES)
            found = [covered(cell, studies) for cell in cells]
            told = [f"{100 * one:.1f} {100 * other:.1f}" for one, other in found]
            yield f"| {name}{', personas apart' if apart else ''} | {' | '.join(told)} |"


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 2000):
        print(line, flush=True)
