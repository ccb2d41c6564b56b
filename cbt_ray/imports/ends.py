"""The ends of a scale: lowest and highest score of an item, in a table of ratings and on the
study's scale.
"""

from __future__ import annotations

from dataclasses import dataclass

from cbt_ray.analysis.table.mapping import Mapping
from cbt_ray.errors import InputError
from cbt_ray.rating.measure import Ends, ends_of
from cbt_ray.rating.scale import Scale


@dataclass(frozen=True)
class TableEnds:
    """What a table's scores and measures lie between, and what the scale's do."""

    range: tuple[float, float] | None
    """Of an item in the table, where it is another than the scale's."""
    given: dict[str, Ends]
    """Item or measure -> its ends in the table."""
    own: dict[str, Ends]
    """The same on the scale."""

    @property
    def same(self) -> bool:
        """A score of the table is one of the scale, and has its word."""
        return self.range is None

    def on_scale(self, name: str, score: float) -> float:
        """A score of an item, or a measure, on the study's scale: linear, end to end."""
        (low, high), (lowest, highest) = self.given[name], self.own[name]
        if self.same or low is None or high is None or lowest is None or highest is None:
            return score
        return round(lowest + (score - low) * (highest - lowest) / (high - low), 6)

    def fits(self, name: str, score: float) -> bool:
        """Whether a score or measure of the table lies between its ends."""
        low, high = self.given[name]
        return (low is None or low <= score) and (high is None or score <= high)

    def span(self, name: str) -> str:
        """The ends in words."""
        low, high = self.given[name]
        ends = ["any number" if end is None else f"{end:g}" for end in (low, high)]
        return ends[0] if low is None else f"{ends[0]} to {ends[1]}"


def table_ends(declared: Mapping | None, scale: Scale) -> TableEnds:
    """The ends that a mapping declares.

    Raises InputError where they are not the scale's and nothing says how they become so.
    """
    own = dict(scale.ends)
    items = {item.ends for item in scale.items}
    if declared is None or "range" not in declared.model_fields_set or items == {declared.range}:
        return TableEnds(None, own, own)
    low, high = declared.range
    where = f"mapping {declared.mapping}: range: expected ratings"
    if len(items) > 1 or None in (first := next(iter(items))):
        raise InputError(
            f"{where} in the ranges of the scale {scale.name}, whose items differ in them; leave "
            f"`range` out, found {low:g} to {high:g}"
        )
    if declared.rescale is None:
        raise InputError(
            f"{where} from {first[0]} to {first[1]}, as the scale {scale.name} has them, "
            f"found {low:g} to {high:g}; `rescale: linear` puts {low:g} to {first[0]} and "
            f"{high:g} to {first[1]}"
        )
    given = ends_of(scale.measures, {item.id: Ends(low, high) for item in scale.items})
    return TableEnds(declared.range, given, own)
