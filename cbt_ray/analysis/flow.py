"""What became of every scheduled session, and what was flagged: by arm, with reasons, as CONSORT
counts participants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbt_ray.analysis.describe import ScoredArm
from cbt_ray.analysis.scores import FLAG, OWED

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Flow:
    """How far an arm's sessions came."""

    arm: str
    scheduled: int
    reached: int
    held: int
    rated: int
    owed: int
    unrated: Mapping[str, int]
    """Reason -> count."""
    stop_reasons: Mapping[str, int]
    """Why the held ones ended -> count."""
    flagged: int
    """Of the rated ones."""


@dataclass(frozen=True)
class Flagged:
    """How many of an arm's held sessions carry a flag; flags are outcomes and exclude nothing."""

    arm: str
    held: int
    any: int
    flags: Mapping[str, int]
    """Flag -> count."""


def flow(sessions: pd.DataFrame, arms: Sequence[ScoredArm]) -> list[Flow]:
    """Per arm: scheduled -> reached -> held -> rated, the reasons of the unrated and why sessions
    ended.
    """
    names = _flags(sessions)
    table = []
    for arm in arms:
        own = sessions[sessions["arm"] == arm.arm]
        unrated = own[own["total"].isna()]
        rated = own.loc[own["total"].notna(), names]
        table.append(
            Flow(
                arm.arm,
                scheduled=len(own),
                reached=int(own["reached"].sum()),
                held=int(own["held"].sum()),
                rated=len(own) - len(unrated),
                owed=int((own["reason"] == OWED).sum()),
                unrated=counts(unrated["reason"]),
                stop_reasons=counts(own.loc[own["held"], "stop_reason"].fillna("unknown")),
                flagged=int(rated.any(axis=1).sum()) if names else 0,
            )
        )
    return table


def flags(sessions: pd.DataFrame, arms: Sequence[ScoredArm]) -> list[Flagged]:
    """Per arm: of the sessions that were held, how many carry each flag."""
    names = sorted(_flags(sessions))
    table = []
    for arm in arms:
        held = sessions[(sessions["arm"] == arm.arm) & sessions["held"]]
        found = {name.removeprefix(FLAG): int(held[name].sum()) for name in names}
        some = int(held[names].any(axis=1).sum()) if names else 0
        table.append(Flagged(arm.arm, len(held), some, found))
    return table


def counts(words: pd.Series[str]) -> dict[str, int]:
    """How often each word occurs: most frequent first, ties by name."""
    found = {str(word): int(count) for word, count in words.value_counts().items()}
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _flags(sessions: pd.DataFrame) -> list[str]:
    return [name for name in sessions.columns if name.startswith(FLAG)]
