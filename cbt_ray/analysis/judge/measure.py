"""What one probe shows, beside its threshold, and the two rules of a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cbt_ray.analysis.judge.mean import Mean
from cbt_ray.analysis.judge.probe import Pair
from cbt_ray.study.rater import Judge

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


@dataclass(frozen=True)
class Measured:
    """What a probe shows: an estimate with its interval against a threshold, the verdict, and what
    else is worth knowing.
    """

    probe: str
    threshold: float
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    interval_reason: str | None = None
    judged: tuple[str, str | None] = ("not_probed", None)
    """Verdict and its reason."""
    text: str = ""
    chains: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def none(cls, name: str, judge: Judge) -> Measured:
        """Nothing."""
        return cls(name, float(getattr(judge.probes, FIELDS[name])))

    def to_json(self) -> dict[str, Any]:
        """As it stands in analysis.json."""
        return {
            "chains": self.chains,
            "unit": UNITS.get(self.probe, "share"),
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "interval_reason": self.interval_reason,
            "threshold": {"field": FIELDS[self.probe], "value": self.threshold},
            "details": dict(self.details),
        }


def must_move(effect: Mean, *, reached: bool, sure: bool, floor: bool) -> tuple[str, str | None]:
    """The verdict where a score must move.

    `effect` must lie above 0, shown by its interval; `reached`: the estimate is on the right side
    of the threshold; `sure`: its whole interval is on the wrong one; `floor`: the sessions are
    rated so low as they stand that they cannot fall so far.
    """
    if floor:
        return "undecided", "floor"
    if not reached:
        return "failed", "interval_beyond" if sure else "estimate_beyond"
    if effect.low is None:
        return "undecided", effect.reason
    return ("passed", None) if effect.low > 0 else ("undecided", "interval_includes_none")


def must_stay(
    inside: bool, *, within: bool, shown: bool, reason: str | None
) -> tuple[str, str | None]:
    """The verdict where nothing must move: `inside` is the estimate, `within` its whole interval,
    `shown` an effect at all.
    """
    if within:
        return "passed", None
    if not inside and shown:
        return "failed", "effect_shown"
    return "undecided", reason or "interval_too_wide"


def measured(
    name: str,
    limit: float,
    mean: Mean,
    judged: tuple[str, str | None],
    text: str,
    pairs: Sequence[Pair],
    details: Mapping[str, Any],
) -> Measured:
    """A comparison with ordinary ratings that came to a mean."""
    chains = len({pair.chain for pair in pairs})
    return Measured(
        name, limit, mean.value, mean.low, mean.high, mean.reason, judged, text, chains, details
    )
