"""A notice: what casts doubt on the numbers, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """A doubt in a sentence."""

    id: str
    """Stable."""
    text: str
    weight: int
    """From 0 to 100: the heaviest are above the answer."""


def by_weight(said: Iterable[Notice]) -> list[Notice]:
    """The heaviest first."""
    return sorted(said, key=lambda notice: -notice.weight)
