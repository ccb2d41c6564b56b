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
    seeds: int = 1
    """Trainings of either arm."""
    between: float = 0.0
    """Standard deviation between them, in logits."""


KINDS = {
    "good": ((2.5, 2.0), (-4.0, -3.5)),
    "middling": ((1.0, 0.5), (-2.5, -2.0)),
    "poor": ((-1.5, -1.5), (-1.7, -1.7)),
    "nearly all": ((5.0, 2.0), (-6.0, -3.5)),
}
SPREADS: dict[str, tuple[float, int, float]] = {
    "": (0.0, 1, 0.0),
    ", personas apart": (1.0, 1, 0.0),
    ", and 2 training seeds": (1.0, 2, 0.5),
    ", and 3 training seeds": (1.0, 3, 0.5),
}
SIZES = ((20, 1), (50, 2), (100, 1), (20, 5))


def logistic(value: Array) -> Array:
    """A share, from its logit."""
    return np.asarray(1 / (1 + np.exp(-value)))


def study(cell: Cell, draw: np.random.Generator) -> list[Replies]:
    """Both arms of one study."""
    count = cell.personas * cell.cases
    persona = np.tile(np.repeat(np.arange(cell.personas), cell.cases), cell.seeds)
    case, seed = np.tile(np.arange(count), cell.seeds), np.repeat(np.arange(cell.seeds), count)
    reference = (draw.random((count, len(FREQUENCY))) < FREQUENCY)[case]
    shared = draw.standard_normal(cell.personas) * cell.apart * (2 / 3) ** 0.5
    found = []
    for hit, extra in zip(cell.hits, cell.extras, strict=True):
        own = shared + draw.standard_normal(cell.personas) * cell.apart * (1 / 3) ** 0.5
        trained = draw.standard_normal(cell.seeds) * cell.between
        skill = (own[persona] + trained[seed])[:, None]
        share = np.where(reference, logistic(hit + skill), logistic(extra - skill))
        named = draw.random(reference.shape) < share
        found.append(Replies(case, persona, seed, np.ones_like(seed), named, reference))
    return found


def f1(replies: Replies) -> float:
    """Micro F1."""
    both = float((replies.named & replies.reference).sum())
    return 2 * both / float(replies.named.sum() + replies.reference.sum())


def covered(cell: Cell, studies: int, seed: int = 1) -> tuple[float, float]:
    """The shares of studies whose intervals hold the first arm's F1, and the difference."""
    draw = np.random.default_rng(seed)
    apart = float(np.hypot(cell.apart, cell.between))
    many = replace(cell, personas=200_000 // cell.cases, seeds=1, apart=apart)
    whole = [f1(arm) for arm in study(replace(many, between=0.0), draw)]
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
        for more, (apart, seeds, between) in SPREADS.items():
            cells = (Cell(*size, hits, extras, apart, seeds, between) for size in SIZES)
            found = [covered(cell, studies) for cell in cells]
            told = [f"{100 * one:.1f} {100 * other:.1f}" for one, other in found]
            yield f"| {name}{more} | {' | '.join(told)} |"


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
        print(line, flush=True)
