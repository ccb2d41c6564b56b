"""What is said of claims that were published: their verdicts, and where the claims were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cbt_ray.study.block import Block

Kind = Literal["number", "comparison", "significance"]
BORNE_OUT: Literal["borne_out"] = "borne_out"
NOT_BORNE_OUT: Literal["not_borne_out"] = "not_borne_out"
NOT_TESTABLE: Literal["not_testable"] = "not_testable"


class Source(Block):
    """Where claims were read."""

    what: str
    url: str
    part: str
    """Which part of the paper it is."""


@dataclass(frozen=True)
class ClaimVerdict:
    """What the scores say of a claim under one analysis."""

    verdict: Literal["borne_out", "not_borne_out", "not_testable"]
    how: str
    """What must hold of which number."""
    recomputed: float | None = None
    low: float | None = None
    """Ends of the number's interval, where it has one."""
    high: float | None = None
    reason: str | None = None
    """Why it could not be tested."""


@dataclass(frozen=True)
class RecomputedClaim:
    """A claim with its verdicts."""

    id: str
    group: str
    text: str
    """What is claimed, in our words."""
    kind: Kind
    printed: str | None
    """The number as it is printed."""
    reading: str | None
    """How we read a claim that can be read in several ways."""
    source: str
    part: str
    """Which part of the paper its source is."""
    url: str
    published: ClaimVerdict
    """Under the published analysis."""
    default: ClaimVerdict


@dataclass(frozen=True)
class Verdicts:
    """How many claims have which verdict."""

    borne_out: int
    not_borne_out: int
    not_testable: int


@dataclass(frozen=True)
class VerdictCounts:
    """The verdicts under both analyses."""

    published: Verdicts
    default: Verdicts


@dataclass(frozen=True)
class Claims:
    """Claims that were published on these scores."""

    rows: Sequence[RecomputedClaim] = ()
    paper: str | None = None
    url: str | None = None
    not_had: str | None = None
    """What of the paper could not be read when its claims were written down."""
    sources: Mapping[str, Source] | None = None
    """Where claims were read."""
    counts: VerdictCounts | None = None
    reason: str | None = None
    """Why there are none."""
