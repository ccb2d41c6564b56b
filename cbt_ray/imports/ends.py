"""The ends of a scale: lowest and highest score of an item, in a table of ratings and on the
study's scale.
"""

from __future__ import annotations

from dataclasses import dataclass

from cbt_ray.analysis.table.mapping import Mapping
from cbt_ray.errors import InputError
from cbt_ray.rating.scale import Scale


@dataclass(frozen=True)
class Ends:
    """What a table's scores lie between, and what the scale's do."""

    given: tuple[float, float]
    own: tuple[int, int]

    @property
    def same(self) -> bool:
        """A score of the table is one of the scale, and has its word."""
        return self.given == self.own

    def on_scale(self, score: float, items: int = 1) -> float:
        """A score of one item, or the sum of several, on the study's scale: linear, end to end."""
        (low, high), (lowest, highest) = self.given, self.own
        return round(items * lowest + (score - items * low) * (highest - lowest) / (high - low), 6)


def ends_of(declared: Mapping | None, scale: Scale) -> Ends:
    """The ends that a mapping declares.

    Raises InputError where they are not the scale's and nothing says how they become so.
    """
    own = (1, len(scale.words))
    if declared is None or "range" not in declared.model_fields_set:
        return Ends(own, own)
    if declared.range != own and declared.rescale is None:
        low, high = declared.range
        raise InputError(
            f"mapping {declared.mapping}: range: expected ratings from 1 to {own[1]}, as the scale "
            f"{scale.name} has them, "
            f"found {low:g} to {high:g}; `rescale: linear` puts {low:g} to 1 and {high:g} to "
            f"{own[1]}"
        )
    return Ends(declared.range, own)
