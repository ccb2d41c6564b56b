"""An estimate: a number with its interval, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Both ends of an interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    """Why the number or its interval is null."""
