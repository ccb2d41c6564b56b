"""Made-up replies to cases."""

from __future__ import annotations

import random
from collections.abc import Sequence

from cbt_ray.analysis.label.labelled import Labelled
from cbt_ray.study.contrast import Contrast

LABELS = tuple(f"label {n}" for n in range(10))
TUNING = Contrast(name="tuning", plus={"variant": "tuned"}, minus={"variant": "instruct"})
NOTHING: frozenset[str] = frozenset()
Named = Sequence[frozenset[str]]


def cases(count: int = 100, seed: int = 3) -> list[frozenset[str]]:
    """What the generator named of each case: one to three labels, some of them often."""
    draw = random.Random(seed)
    return [
        frozenset(draw.choices(LABELS, weights=range(10, 0, -1), k=draw.choice((1, 2, 3))))
        for _ in range(count)
    ]


def imperfect(references: Named, skill: float, seed: int) -> list[frozenset[str]]:
    """What somebody names who finds this share of the labels, and some that are not there."""
    draw = random.Random(seed)
    return [
        frozenset(
            label
            for label in LABELS
            if draw.random() < (skill if label in reference else (1 - skill) / 5)
        )
        for reference in references
    ]


def replies(
    variant: str,
    named: Named,
    references: Named,
    *,
    each: int = 1,
    seed: int = 1,
    reason: str = "none_named",
) -> list[Labelled]:
    """Replies of the arm of a variant; `each`: cases of one persona."""
    return [
        Labelled(
            session=f"{variant}.{seed}.{case}",
            arm=variant,
            factors={"variant": variant},
            patient=f"case {case:03d}",
            persona=f"persona {case // each:03d}",
            seed=seed,
            replicate=1,
            named=said,
            reference=reference,
            reason=None if said else reason,
        )
        for case, (said, reference) in enumerate(zip(named, references, strict=True))
    ]
