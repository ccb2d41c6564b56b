"""Scores: one row per scheduled session, view and judge replicate, and the same averaged to one per session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

NOT_REACHED = "not_reached"
OWED = "owed"
REJECTED = "rejected"
NOTHING_TO_RATE = "nothing_to_rate"
ITEM_MISSING = "item_missing"


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One scheduled session as one view and one judge replicate rated it, or the reason why it is unrated."""

    session_key: str
    arm: str
    model: str
    variant: str
    patient: str
    replicate: int
    session: int
    phase: str
    view: str
    judge_replicate: int
    rated: bool
    reason: str | None = None
    """not_reached, rejected:<why>, nothing_to_rate, judge_failed, owed, ...; None where rated."""
    items: dict[str, int | None] = field(default_factory=dict)
    total: int | None = None
    words: int = 0
    therapist_turns: int = 0
    messages: int = 0
    flags: list[str] = field(default_factory=list)
    stop_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As one line of JSONL."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ScoreRow:
        """Read back; raises TypeError on unknown or absent fields."""
        return cls(**value)


@dataclass(frozen=True, slots=True)
class SessionScore:
    """One scheduled session: its judge replicates averaged, since replicates are no independent observations."""

    row: ScoreRow
    """The session's facts (any of its replicates holds them)."""
    total: float | None
    items: dict[str, float]
    totals: tuple[float, ...]
    """The total of every replicate that gave one."""
    reason: str | None

    @property
    def chain(self) -> tuple[str, str, int]:
        """Arm, patient and replicate."""
        return self.row.arm, self.row.patient, self.row.replicate

    @property
    def done(self) -> bool:
        """The session was held to its end, whether or not it could be rated."""
        if self.total is not None:
            return True
        reason = self.reason or ""
        if reason == OWED:
            return self.row.messages > 0  # the session is there, its rating is owed
        return reason != NOT_REACHED and not reason.startswith(REJECTED)

    @property
    def reached(self) -> bool:
        """The chain got as far as this session."""
        return self.done or (self.reason or "").startswith(REJECTED)

    @property
    def lost_by_therapy(self) -> bool:
        """Unrated because of what happened in the chain, and not because of the judge or of work still owed."""
        reason = self.reason or ""
        return self.total is None and (reason in (NOT_REACHED, NOTHING_TO_RATE) or reason.startswith(REJECTED))


def views(rows: Iterable[ScoreRow]) -> list[str]:
    """The views in the rows, in their order."""
    return list(dict.fromkeys(row.view for row in rows))


def item_names(rows: Iterable[ScoreRow], declared: Sequence[str]) -> list[str]:
    """The scale's items: as declared, else as the rows name them."""
    return list(declared) or list(dict.fromkeys(item for row in rows for item in row.items))


def average(rows: Iterable[ScoreRow]) -> list[SessionScore]:
    """Average the judge replicates of each session; rows of one view."""
    groups: dict[str, list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault(row.session_key, []).append(row)
    return [_average(group) for group in groups.values()]


def _average(group: Sequence[ScoreRow]) -> SessionScore:
    rated = [row for row in group if row.rated]
    totals = tuple(float(row.total) for row in rated if row.total is not None)
    items: dict[str, list[int]] = {}
    for row in rated:
        for item, score in row.items.items():
            if score is not None:
                items.setdefault(item, []).append(score)
    reason = None if totals else next((row.reason for row in group if row.reason), ITEM_MISSING if rated else "unknown")
    means = {item: sum(scores) / len(scores) for item, scores in items.items()}
    return SessionScore(group[0], sum(totals) / len(totals) if totals else None, means, totals, reason)
