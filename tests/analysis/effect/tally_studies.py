"""Simulated studies of flags, shares and counts: what the intervals of an arm and of a difference
cover.

`make simulations` prints the rows of docs/statistics.md (4,000 studies a cell, three minutes on one
core); an argument that is part of a design's name makes its rows alone. Patients meet both arms. In
one session each, what they do correlates by half between arms. In 20 sessions, patients add a
quarter of the variance and their chains another (of counts: gamma factors of variance .3 each).
Percentages are drawn from beta distributions whose variance is a third of the largest that there
can be, so that most of them lie at an end. Training seeds add as much as chains do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtri

from cbt_ray.analysis.effect.tally import Tally, ends_of
from cbt_ray.rating.measure import MeasureKind

LEVEL, MANY = 0.95, 20
PATIENTS = (10, 20, 100)
Random = np.random.Generator
Draw = Callable[[Random, float, float, int], Any]
"""Of a truth in either arm and a number of patients: (arms, seeds, patients, sessions)."""


def flags(sessions: int, shared: float, own: float, seeds: int = 1) -> Draw:
    """Yes or no where a normal variable is low: `shared` of its variance is the patient's, `own`
    the chain's, and as much as that the training seed's where there are several.
    """

    def draw(random: Random, first: float, second: float, patients: int) -> Any:
        parts = [((1, 1, patients, 1), shared), ((2, seeds, patients, 1), own)]
        parts += [((2, seeds, 1, 1), own)] * (seeds > 1)
        left = 1 - sum(part for _, part in parts)
        parts.append(((2, seeds, patients, sessions), left))
        low = sum(random.standard_normal(shape) * part**0.5 for shape, part in parts)
        return (low < ndtri(_truths(first, second))).astype(float)

    return draw


def percentages(random: Random, first: float, second: float, patients: int) -> Any:
    """Shares of any value, many of them near an end."""
    truth = _truths(first, second)
    return random.beta(2 * truth, 2 * (1 - truth), (2, 1, patients, 1))


def counts(sessions: int, variance: float) -> Draw:
    """Poisson's, with a gamma factor of this variance for patients and for their chains."""

    def draw(random: Random, first: float, second: float, patients: int) -> Any:
        means = _truths(first, second)
        for size in ((1, 1, patients, 1), (2, 1, patients, 1)):
            means = means * (random.gamma(1 / variance, variance, size) if variance else 1.0)
        return random.poisson(means, (2, 1, patients, sessions)).astype(float)

    return draw


def _truths(first: float, second: float) -> Any:
    return np.array([first, second])[:, None, None, None]


DESIGNS: dict[str, tuple[MeasureKind, Draw, tuple[float, ...], float]] = {
    "flag, 1 session": ("flag", flags(1, 0.5, 0), (0, 0.02, 0.5, 0.98, 1), 0.5),
    "flag, 20 sessions": ("flag", flags(MANY, 0.25, 0.25), (0, 0.02, 0.5, 0.98, 1), 0.5),
    "flag, 3 training seeds": ("flag", flags(5, 0.25, 0.1, 3), (0, 0.02, 0.5), 0.8),
    "percentage, 1 session": ("share", percentages, (0.02, 0.5, 0.98), 0.5),
    "count, 1 session": ("count", counts(1, 0), (0.1, 3), 1),
    "count, 20 sessions": ("count", counts(MANY, 0.3), (0.1, 3), 1),
}
"""Design -> kind, how it is drawn, truths, and the truth that each is compared with besides its
own."""


def coverage(
    design: str, truth: float, patients: int, studies: int, seed: int = 20241130
) -> tuple[float, float, float]:
    """Share of intervals that hold the truth: of an arm, of no difference, and of the difference
    from the design's other truth.
    """
    kind, draw, truths, other = DESIGNS[design]
    random = np.random.default_rng(
        [seed, patients, list(DESIGNS).index(design), truths.index(truth)]
    )
    held = np.zeros(3)
    for _ in range(studies):
        arm, same = _tallies(kind, draw(random, truth, truth, patients))
        mean, none = arm.estimate(LEVEL), ends_of(arm, same, LEVEL)
        arm, lower = _tallies(kind, draw(random, truth, other, patients))
        apart = ends_of(arm, lower, LEVEL)
        held += [
            (mean.low or 0) <= truth <= (mean.high or 0),
            none.low <= 0 <= none.high,
            apart.low <= truth - other <= apart.high,
        ]
    of_mean, of_none, of_apart = map(float, held / studies)
    return of_mean, of_none, of_apart


def _tallies(kind: MeasureKind, drawn: Any) -> list[Tally]:
    """Both arms of a study."""
    return [Tally(kind, one.mean(axis=-1), one.size) for one in drawn]


def main(part: str = "", studies: int = 4000) -> None:
    """Print the table's rows of all designs whose name has this part."""
    for design, (_, _, truths, _) in DESIGNS.items():
        for truth in truths if part in design else ():
            cells = [coverage(design, truth, patients, studies) for patients in PATIENTS]
            told = [" ".join(f"{100 * share:.1f}" for share in cell) for cell in cells]
            sys.stdout.write(f"| {design} | {truth:g} | {' | '.join(told)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:2])
