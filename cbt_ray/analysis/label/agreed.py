"""How far labels that were named agree with the reference: counts, and shares of them.

F1 is 2p / (1 + p) of p, the share of true positives among all that either side named. So its
interval is that of a share between personas, bent the same way: within 0 and 1, and of some width
where all or nothing is right. Training seeds widen it as they do a mean (`effect.seeds`), by what
personas add to the share under each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect import seeds
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.label.labelled import Replies, sums
from cbt_ray.analysis.share import share

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

UNNAMED = "no reply named it"
UNSUPPORTED = "the generator never named it"
NOBODY = "neither a reply nor the generator named it"
NO_REPLY = "there is no reply"


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """How far what replies named agrees with what the generator named."""

    support: int
    """How often the generator named it."""
    tp: int
    """Named by both."""
    fp: int
    """Named by the reply alone."""
    fn: int
    """Named by the generator alone."""
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, kw_only=True)
class LabelAgreed(Agreed):
    """One label in one arm."""

    label: str


@dataclass(frozen=True)
class Overlap:
    """(replies,) counts of labels that were named."""

    both: Array
    reply: Array
    generator: Array

    @classmethod
    def of(cls, replies: Replies, label: int | None = None) -> Overlap:
        """In one label, or in all together."""
        which = slice(None) if label is None else slice(label, label + 1)
        named, reference = replies.named[:, which], replies.reference[:, which]
        return cls((named & reference).sum(axis=1), named.sum(axis=1), reference.sum(axis=1))

    @property
    def either(self) -> Array:
        """What either of them named."""
        return self.reply + self.generator - self.both


def agreed(replies: Replies, level: float, label: int | None = None) -> Agreed:
    """Of one label, or of all together."""
    found = Overlap.of(replies, label)
    both, reply, generator = (int(each.sum()) for each in vars(found).values())
    return Agreed(
        support=generator,
        tp=both,
        fp=reply - both,
        fn=generator - both,
        precision=_share(replies, found.both, found.reply, level, UNNAMED),
        recall=_share(replies, found.both, found.generator, level, UNSUPPORTED),
        f1=f1(replies, level, label),
    )


def f1(
    replies: Replies, level: float, label: int | None = None, *, seeds_too: bool = True
) -> Estimate:
    """Of one label, or of all together (micro); else as if there were no other training seeds."""
    found = Overlap.of(replies, label)
    part, whole = found.both, found.either
    return bent(_share(replies, part, whole, level, NOBODY, seeds_too=seeds_too))


def exact(replies: Replies, level: float) -> Estimate:
    """The share of replies that name all of the generator's labels and no other."""
    import numpy as np

    return _share(replies, replies.exact, np.ones(len(replies.case)), level, NO_REPLY)


def bent(found: Estimate) -> Estimate:
    """F1, from the share of true positives among all that either side named."""
    value, low, high = (
        None if one is None else 2 * one / (1 + one) for one in (found.value, found.low, found.high)
    )
    return replace(found, value=value, low=low, high=high)


def _share(
    replies: Replies,
    part: Array,
    whole: Array,
    level: float,
    undefined: str,
    *,
    seeds_too: bool = True,
) -> Estimate:
    """A share with its interval between personas; `undefined` says why there is none."""
    parts, wholes = sums(replies.persona, part, whole)
    total, personas = float(wholes.sum()), int((wholes > 0).sum())
    if not total:
        return Estimate(None, reason=undefined)
    if personas < 2:
        return Estimate(float(parts.sum()) / total, reason=f"needs 2 personas, found {personas}")
    beside = _between_seeds(replies, part, whole, level) if seeds_too else 0.0
    return share(parts, wholes, level, trials=total, beside=beside)


def _between_seeds(replies: Replies, part: Array, whole: Array, level: float) -> float:
    """What training seeds add to the square of half the interval's width."""
    import numpy as np
    from scipy.special import stdtrit

    trainings, training = np.unique(replies.seed, return_inverse=True)
    personas, persona = np.unique(replies.persona, return_inverse=True)
    shape = len(trainings), len(personas)
    if min(shape) < 2:
        return 0.0
    rest = (part - part.sum() / whole.sum() * whole) / whole.sum() * shape[0] * shape[1]
    place = training * shape[1] + persona
    cells = np.bincount(place, weights=rest, minlength=shape[0] * shape[1]).reshape(shape)
    of = seeds.parts([cells, np.zeros((1, shape[1]))])
    return float(of.seeds * stdtrit(of.df_seeds, 0.5 + level / 2) ** 2)


def macro(found: list[LabelAgreed]) -> float | None:
    """Mean F1 of the labels that somebody named."""
    known = [one.f1.value for one in found if one.f1.value is not None]
    return sum(known) / len(known) if known else None


def base_rate(replies: Replies) -> float | None:
    """The F1 expected of the same replies, dealt to the cases at random.

    Dealing moves no reply between trainings or replicates, and changes nothing but the true
    positives: where a label is named in n of m replies and by the generator in k of their m cases,
    n k / m are expected.
    """
    rounds: dict[tuple[int, int], list[int]] = {}
    for index, key in enumerate(
        zip(replies.seed.tolist(), replies.replicate.tolist(), strict=True)
    ):
        rounds.setdefault(key, []).append(index)
    expected = sum(
        float((replies.named[own].sum(axis=0) * replies.reference[own].sum(axis=0)).sum())
        / len(own)
        for own in rounds.values()
    )
    named = int(replies.named.sum() + replies.reference.sum())
    return 2 * expected / named if named else None
