"""Two arms compared in the labels that their replies named of the same cases.

Whether a case was decided right: McNemar's exact test. Where a persona has several cases, or a case
several replies, these are not independent: then the personas' sums of differences flip their signs,
all flips counted. That is McNemar's test where each persona has one case.

How far F1 differs: both intervals joined by MOVER (Zou & Donner 2008, Stat. Med. 27:1693-1702) with
the correlation of the two arms between personas; what training seeds add is added in squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.asked import Comparison
from cbt_ray.analysis.effect.contrast import ONE_RUN, SEVERAL_RUNS, holm
from cbt_ray.analysis.effect.signed_ranks import counted_flips
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.label.agreed import NOBODY, Overlap, f1
from cbt_ray.analysis.label.labelled import Replies, sums
from cbt_ray.analysis.share import correlation, mcnemar, widened
from cbt_ray.analysis.share import difference as joined

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MCNEMAR = "exact McNemar"
FLIPS = "exact sign flips of personas"
NO_CASE = "no case has replies of both"
AVERAGED = "p averages training seeds within a case: it is about these checkpoints."
FINEST = 2520
"""Most steps that the difference of two shares of replies is counted in."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Which of two arms decided more cases as the generator did."""

    plus: int = 0
    """Cases that `plus` decided right, or more often right, than `minus`."""
    minus: int = 0
    """The reverse."""
    p: float | None = None
    method: str | None = None
    reason: str | None = None
    """Why there is no p."""


@dataclass(frozen=True, kw_only=True)
class LabelDecided(Decided):
    """The same of one label: named by both, the reply and the generator, or by neither."""

    label: str
    p_adjusted: float | None
    """By Holm over the labels."""


@dataclass(frozen=True, kw_only=True)
class LabelPair(Comparison):
    """A pair of arms, on the cases of both."""

    cases: int
    personas: int
    seeds: tuple[int, int]
    f1: Estimate
    """The difference of micro F1."""
    exact: Decided
    """A case is right where all labels are the generator's."""
    labels: Sequence[LabelDecided]
    caveat: str | None
    """What its inference is to."""


def compared(
    head: Comparison,
    sides: tuple[Replies, Replies],
    known: Sequence[str],
    level: float,
    once: bool,
) -> LabelPair:
    """One pair of arms; `once`: one of them was trained with one seed."""
    shared = sorted(set(sides[0].case) & set(sides[1].case))
    plus, minus = (side.on(shared) for side in sides)
    seeds = (plus.seeds, minus.seeds)
    several = [SEVERAL_RUNS, AVERAGED] if max(seeds) > 1 else []
    said = [*several, *([ONE_RUN] if once else [])]
    return LabelPair(
        **vars(head),
        cases=len(shared),
        personas=len(set(plus.persona)),
        seeds=seeds,
        f1=difference(plus, minus, level),
        exact=_decided(plus, minus, [plus.exact, minus.exact]),
        labels=_labels(plus, minus, known),
        caveat=" ".join(said) or None,
    )


def difference(plus: Replies, minus: Replies, level: float) -> Estimate:
    """Of micro F1, on the same cases."""
    one, other = (f1(side, level) for side in (plus, minus))
    if one.value is None or other.value is None:
        return Estimate(None, reason=NO_CASE if not len(plus.case) else one.reason or other.reason)
    value = one.value - other.value
    if one.low is None or other.low is None:
        return Estimate(value, reason=one.reason or other.reason)
    r = correlation(_influence(plus), _influence(minus))
    first, second = (f1(side, level, seeds_too=False) for side in (plus, minus))
    of_personas, of_these = joined(first, second, r), joined(first, second, 0.0)
    # Seeds of different arms are others: they correlate with nothing.
    of_all = joined(one, other, 0.0)
    ends = widened(value, of_personas, of_all, of_these, 1.0)
    return Estimate(value, ends.low, ends.high)


def _influence(replies: Replies) -> Array:
    """(personas,) what each adds to the share that F1 is made of."""
    import numpy as np

    found = Overlap.of(replies)
    both, either = sums(replies.persona, found.both, found.either)
    return np.asarray((both - both.sum() / either.sum() * either) / either.mean())


def _labels(plus: Replies, minus: Replies, known: Sequence[str]) -> list[LabelDecided]:
    found = []
    for index, label in enumerate(known):
        one = _decided(plus, minus, [side.right[:, index] for side in (plus, minus)])
        parts = (plus.named, minus.named, plus.reference, minus.reference)
        if len(plus.case) and not any(part[:, index].any() for part in parts):
            one = Decided(reason=NOBODY)
        found.append(LabelDecided(**vars(one), label=label, p_adjusted=None))
    # A withheld p counts as 1: the family is all labels of the form.
    adjusted = holm([1.0 if one.p is None else one.p for one in found])
    return [
        replace(one, p_adjusted=None if one.p is None else p)
        for one, p in zip(found, adjusted, strict=True)
    ]


def _decided(plus: Replies, minus: Replies, right: Sequence[Array]) -> Decided:
    """From whether each reply of either arm is right."""
    import numpy as np

    if not len(plus.case):
        return Decided(reason=NO_CASE)
    shares, counts = [], []
    for side, of_side in zip((plus, minus), right, strict=True):
        yes, replies = sums(side.case, of_side, np.ones(len(of_side)))
        shares.append(yes / replies)
        counts += replies.astype(int).tolist()
    gain = shares[0] - shares[1]
    cases, first = np.unique(plus.case, return_index=True)
    persona = plus.persona[first]
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    if max(counts) == 1 and len(set(persona)) == len(cases):
        return Decided(plus=better, minus=worse, p=mcnemar(better, worse), method=MCNEMAR)
    steps = min(FINEST, math.lcm(*set(counts)))
    (net,) = sums(persona, np.rint(gain * steps))
    moved = net[net != 0]
    p = counted_flips(moved, 1.0) if len(moved) else 1.0
    return Decided(plus=better, minus=worse, p=min(1.0, p), method=FLIPS)
