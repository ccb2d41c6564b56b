"""Pairs: preference pairs that a study makes of its own courses."""

from __future__ import annotations

from cbt_ray.study.block import Block
from cbt_ray.study.endpoint import Role

MADE = "made:"
"""In front of a name under `pairs`, in a recipe's `preferences`."""


class Pairs(Block):
    """Two answers of a therapist to each context of the courses, of which one is preferred."""

    rejected: Role
    """Who writes the answer that training moves away from.

    Name the model that training starts from, as it is, or a weaker one.
    """
    chosen: Role | None = None
    """Who writes the answer that training moves towards; none: the course's own.

    With the course's own, models that are tuned by `sft` and by `orpo` differ in the method alone.
    """
    form: str | None = None
    """A name under `forms`: that of the models which are trained on the pairs."""

    @property
    def sides(self) -> dict[str, Role]:
        """Who is asked, by the side that is written."""
        known = {"rejected": self.rejected, "chosen": self.chosen}
        return {side: role for side, role in known.items() if role is not None}
