"""What a worker and the meter tell each other: a claim goes up, a grant comes down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cbt_ray.llm.request import Usage

Ticket = int
"""Leave for one call at an endpoint whose calls or tokens of a minute are counted."""


@dataclass(frozen=True)
class Need:
    """What a worker wants of one endpoint."""

    slots: int
    """Calls at once that it keeps leave for; those under way are among them."""
    wanted: int
    """Calls at once that it had under way or waiting, at most, since its last claim."""
    running: int
    waiting: tuple[int, ...] = ()
    """The tokens that each waiting call will take at most, in the order in which they begin."""
    ended: Mapping[Ticket, int] = field(default_factory=dict)
    """The tokens that calls took."""
    tickets: int = 0
    """Those that it has and that no call has used yet."""


@dataclass(frozen=True)
class Claim:
    """What a worker used since its last claim, what it keeps of the budget, and what it wants."""

    used: Usage = field(default_factory=Usage)
    left: Mapping[str, float] = field(default_factory=dict)
    aside: Mapping[str, float] = field(default_factory=dict)
    """Of what is left, what the calls under way are estimated to take."""
    needs: Mapping[str, Need] = field(default_factory=dict)


@dataclass(frozen=True)
class Grant:
    """What a worker may do until its next claim."""

    more: Mapping[str, float] = field(default_factory=dict)
    """Of the budget, beyond what it kept."""
    slots: Mapping[str, int] = field(default_factory=dict)
    """Calls at once, by endpoint; it keeps them until the meter says otherwise."""
    tickets: Mapping[str, tuple[Ticket, ...]] = field(default_factory=dict)
    """For the first calls that wait, by endpoint."""
    refused: str | None = None
    """Why no call may begin any more."""
    again_s: float = 0.0
    """Seconds after which a claim for what still waits makes sense."""
