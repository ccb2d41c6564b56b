"""Probe rows: one judgement of a session that was spoilt on purpose, beside the session's ordinary
rating.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cbt_ray.analysis.settings import Settings


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

    def to_json(self) -> dict[str, Any]:
        """As one line of JSONL."""
        return {**asdict(self), "items": dict(self.items)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProbeRow:
        """Read back."""
        return cls(**value)


@dataclass(frozen=True)
class Pair:
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


def moved(pairs: Sequence[Pair], settings: Settings) -> dict[str, Any]:
    """What every comparison with the ordinary ratings shows: means in points, how many fell, each
    item, each arm.
    """
    count = len(pairs)
    totals = [pair.totals for pair in pairs]
    arms: dict[str, list[float]] = {}
    for pair, (rated, probed) in zip(pairs, totals, strict=True):
        arms.setdefault(pair.arm, []).append(probed - rated)
    return {
        "rated": math.fsum(rated for rated, _ in totals) / count,
        "probed": math.fsum(probed for _, probed in totals) / count,
        "fell": sum(probed < rated for rated, probed in totals) / count,
        "items": {
            item: math.fsum(pair.probed[item] - pair.base[item] for pair in pairs) / count
            for item in pairs[0].base
        },
        "arms": {
            arm: {"n": len(found), "change": math.fsum(found) / len(found)}
            for arm, found in arms.items()
        },
        "range": (settings.highest - settings.lowest) * len(pairs[0].base),
    }
