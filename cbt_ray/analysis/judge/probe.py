"""A probe of the judge: its rows, beside the sessions' ordinary ratings; what all of its rows show;
and the two rules of a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.judge.mean import Mean
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.rater import Judge

FAILED, UNDECIDED, PASSED, NOT_PROBED = "failed", "undecided", "passed", "not_probed"
FIELDS = {
    "empty": "empty_at_most",
    "shuffled": "shuffled_fall",
    "swapped": "swapped_fall",
    "no_homework": "homework_margin",
    "masked": "masked_shift",
    "halo": "halo_spread",
    "guess_plain": "guess_excess",
    "guess_masked": "guess_excess",
}
"""Probe -> the field of `judge.probes` that holds its threshold."""
UNITS = {"no_homework": "points", "halo": "ratio"}
"""Of a probe's estimate; the others are shares: of the scale's range, of the guesses."""
NO_ESTIMATE = Estimate(None)


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """One probe of one session of the judge's sample."""

    session_key: str
    arm: str
    kind: str
    """The kind of therapist that it is, of those that the judge may guess."""
    patient: str
    replicate: int
    session: int
    probe: str
    reason: str | None = None
    """Why there is no answer; none where there is one."""
    items: Mapping[str, int | None] = field(default_factory=dict)
    total: int | None = None
    guess: str | None = None
    """The kind of therapist that the judge guessed."""
    seed: int = 0
    """Of training, as in `ScoreRow`."""

    @property
    def chain(self) -> str:
        """The chain that the session is of."""
        seed = f"|{self.seed}" if self.seed else ""
        return f"{self.arm}|{self.patient}|{self.replicate}{seed}"


@dataclass(frozen=True)
class Compared:
    """One session as it was rated, and as the probe of it was. Every item is there in both."""

    arm: str
    side: str
    """`plus` or `minus` where the first contrast compares its arm, else empty."""
    chain: str
    base: Mapping[str, float]
    probed: Mapping[str, float]

    @property
    def totals(self) -> tuple[float, float]:
        """Total as rated and as probed, points."""
        return math.fsum(self.base.values()), math.fsum(self.probed.values())

    def position(self, settings: Settings) -> tuple[float, float]:
        """Where the totals lie in the scale's range, 0 to 1: as rated, as probed."""
        low, width = (
            settings.lowest * len(self.base),
            (settings.highest - settings.lowest) * len(self.base),
        )
        rated, probed = self.totals
        return (rated - low) / width, (probed - low) / width

    def fall(self, settings: Settings) -> float:
        """Share of the range that the probe costs."""
        rated, probed = self.position(settings)
        return rated - probed

    def item_fall(self, item: str) -> float:
        """Points that an item loses."""
        return self.base[item] - self.probed[item]

    def others_fall(self, item: str) -> float:
        """Points that the items beside one lose on average."""
        falls = [self.item_fall(other) for other in self.base if other != item]
        return math.fsum(falls) / len(falls)


@dataclass(frozen=True)
class ArmMoved:
    """By how many points an arm's n sessions changed on average."""

    n: int
    change: float


@dataclass(frozen=True)
class Moved:
    """What a comparison with the ordinary ratings shows, in points."""

    rated: float
    probed: float
    """Mean totals."""
    fell: float
    """Share of the sessions; of the chains where both views are rated."""
    items: Mapping[str, float]
    """Item -> its mean change."""
    arms: Mapping[str, ArmMoved]
    range: float
    """Of the total."""


def moved(compared: Sequence[Compared], settings: Settings) -> Moved:
    """Of at least one session."""
    count = len(compared)
    totals = [one.totals for one in compared]
    arms: dict[str, list[float]] = {}
    for one, (rated, probed) in zip(compared, totals, strict=True):
        arms.setdefault(one.arm, []).append(probed - rated)
    return Moved(
        rated=math.fsum(rated for rated, _ in totals) / count,
        probed=math.fsum(probed for _, probed in totals) / count,
        fell=sum(probed < rated for rated, probed in totals) / count,
        items={
            item: math.fsum(one.probed[item] - one.base[item] for one in compared) / count
            for item in compared[0].base
        },
        arms={arm: ArmMoved(len(own), math.fsum(own) / len(own)) for arm, own in arms.items()},
        range=(settings.highest - settings.lowest) * len(compared[0].base),
    )


@dataclass(frozen=True)
class Threshold:
    """A field of the rater's `probes`."""

    field: str
    value: float


@dataclass(frozen=True)
class Judged:
    """A verdict, and why where it is not `passed`."""

    verdict: str = NOT_PROBED
    reason: str | None = None


@dataclass(frozen=True)
class EmptyFall:
    """What `empty` costs, a share of the range."""

    fall: Estimate


@dataclass(frozen=True)
class HomeworkFall:
    """What `no_homework` costs, in points."""

    item: str
    item_fall: float
    others_fall: float
    at_floor: int
    """Sessions whose item has the lowest score before the probe."""


@dataclass(frozen=True)
class SideChanges:
    """What masking changes, by the sides of the first contrast; a share of the range."""

    change: Mapping[str, float | None]


@dataclass(frozen=True)
class Spreads:
    """How far the items of a session lie apart (SD), and how they correlate over sessions."""

    spread_together: float
    spread_separately: float
    correlation_together: float | None
    correlation_separately: float | None


@dataclass(frozen=True)
class Guesses:
    """How often the kind of therapist was guessed right."""

    hits: int
    chance: float
    """Of the best constant guess."""
    p: float | None
    """Binomial, one-sided."""
    right: Mapping[str, float]
    """Kind -> share."""
    guessed: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Measured(Judged):
    """One probe: an estimate with its interval against a threshold, the verdict, and what else is
    worth knowing.
    """

    title: str = ""
    scheduled: int = 0
    n: int = 0
    """Answered and comparable."""
    unanswered: Mapping[str, int] = field(default_factory=dict)
    """Reason -> count."""
    chains: int = 0
    unit: str
    """`share` of the scale's range or of the guesses, `points`, `ratio`."""
    estimate: Estimate = NO_ESTIMATE
    threshold: Threshold
    text: str = ""
    """One sentence."""
    moved: Moved | None = None
    """Null of guesses."""
    details: EmptyFall | HomeworkFall | SideChanges | Spreads | Guesses | None = None


def threshold_of(probe: str, judge: Judge) -> Threshold:
    """As the study file declares it."""
    name = FIELDS[probe]
    return Threshold(name, float(getattr(judge.probes, name)))


def unmeasured(probe: str, judge: Judge, judged: Judged = Judged(), text: str = "") -> Measured:
    """A probe before it has shown anything."""
    unit, threshold = UNITS.get(probe, "share"), threshold_of(probe, judge)
    return Measured(**vars(judged), unit=unit, threshold=threshold, text=text)


def must_move(effect: Mean, *, reached: bool, sure: bool, floor: bool) -> Judged:
    """The verdict where a score must move.

    `effect` must lie above 0, shown by its interval; `reached`: the estimate is on the right side
    of the threshold; `sure`: its whole interval is on the wrong one; `floor`: the sessions are
    rated so low as they stand that they cannot fall so far.
    """
    if floor:
        return Judged(UNDECIDED, "floor")
    if not reached:
        return Judged(FAILED, "interval_beyond" if sure else "estimate_beyond")
    if effect.low is None:
        return Judged(UNDECIDED, effect.reason)
    return Judged(PASSED) if effect.low > 0 else Judged(UNDECIDED, "interval_includes_none")


def must_stay(inside: bool, *, within: bool, shown: bool, reason: str | None) -> Judged:
    """The verdict where nothing must move: `inside` is the estimate, `within` its whole interval,
    `shown` an effect at all.
    """
    if within:
        return Judged(PASSED)
    if not inside and shown:
        return Judged(FAILED, "effect_shown")
    return Judged(UNDECIDED, reason or "interval_too_wide")
