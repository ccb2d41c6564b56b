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
    """Probes that are rated.

    Without any, the report says that the judge was not probed.
    """
    sessions: int = Field(10, ge=1, le=100_000)
    """Probed sessions of each arm, drawn by the seed.

    Patients and session numbers are the same in all arms and for all probes.
    """
    empty_at_most: Share = 0.15
    """A therapist who says nothing scores at most this share.

    On CTRS that is between Very Poor and Poor.
    """
    shuffled_fall: Share = 0.05
    """Random order of the therapist's turns costs at least this share.

    On CTRS that is 5 points, half of tuning's published effect.
    """
    swapped_fall: Share = 0.1
    """Another patient's therapist costs at least this share.

    On CTRS that is 10 points, tuning's published effect.
    """
    homework_item: str = "homework"
    """The item that must fall when homework is taken out; one of the scale's."""
    homework_margin: float = Field(1.0, ge=0, le=1000)
    """Points by which it falls more than the others on average."""
    masked_shift: Share = 0.05
    """Masking style moves the contrast by at most this share.

    It is the shift of the arms of `plus` against those of `minus`.
    """
    halo_spread: Share = 0.5
    """Items spread at least this share of what they do rated apart.

    The items are those of one session, rated together.
    """
    guess_excess: Share = 0.15
    """The judge hardly guesses the kind of therapist.

    It is right in at most this share of sessions more than the best constant guess.
    """

    @model_validator(mode="after")
    def _each_once(self) -> Probes:
        again = twice(self.which)
        if again is not None:
            raise ValueError(f"which: expected each probe once, found {again!r} twice")
        return self
