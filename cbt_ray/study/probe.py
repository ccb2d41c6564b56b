"""Probes of the judge: sessions that are spoilt on purpose and rated again, to see whether the
judge reads what it rates.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cbt_ray.study.block import Block, Share, twice

ProbeName = Literal[
    "empty", "shuffled", "swapped", "no_homework", "masked", "halo", "guess_plain", "guess_masked"
]


class Probes(Block):
    """Which probes are rated, on how many sessions, and what a judge must show to pass.

    Shares are of the scale's whole range.
    """

    which: tuple[ProbeName, ...] = ()
    """None by default: each is one more judgement of every probed session, and the report says that
    nothing was probed."""
    sessions: int = Field(10, ge=1, le=100_000)
    """Probed sessions of each arm: the same patients and session numbers in all arms and for all
    probes, drawn by the seed."""
    empty_at_most: Share = 0.15
    """A therapist who says nothing scores at most this share of the range (on CTRS: words between
    Very Poor and Poor)."""
    shuffled_fall: Share = 0.05
    """The therapist's turns in random order cost at least this share (on CTRS: 5 points, half of
    tuning's published effect)."""
    swapped_fall: Share = 0.1
    """Another patient's therapist costs at least this share (on CTRS: 10 points, tuning's published
    effect)."""
    homework_item: str = "homework"
    """The item that must fall when homework is taken out."""
    homework_margin: float = Field(1.0, ge=0, le=1000)
    """Points by which it must fall more than the other items do on average."""
    masked_shift: Share = 0.05
    """Masking style may move the arms of `plus` against those of `minus` by at most this share."""
    halo_spread: Share = 0.5
    """Items of a session, rated together, spread at least this share of what they do when rated
    separately."""
    guess_excess: Share = 0.15
    """The judge may guess the kind of therapist right at most this share of sessions more often
    than the best constant guess."""

    @model_validator(mode="after")
    def _each_once(self) -> Probes:
        again = twice(self.which)
        if again is not None:
            raise ValueError(f"which: expected each probe once, found {again!r} twice")
        return self
