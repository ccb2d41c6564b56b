"""What became of every scheduled session, and what was flagged: by arm, with reasons, as CONSORT
counts participants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.scores import FLAG, OWED

if TYPE_CHECKING:
    import pandas as pd


def flow(sessions: pd.DataFrame, arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per arm: scheduled -> reached -> held -> rated, the reasons of the unrated and why sessions
    ended.
    """
    table = []
    for arm in arms:
        own = sessions[sessions["arm"] == arm["arm"]]
        unrated = own[own["total"].isna()]
        table.append(
            {
                "arm": arm["arm"],
                "scheduled": len(own),
                "reached": int(own["reached"].sum()),
                "done": int(own["held"].sum()),
                "rated": len(own) - len(unrated),
                "owed": int((own["reason"] == OWED).sum()),
                "unrated": counts(unrated["reason"]),
                "stop_reasons": counts(own.loc[own["held"], "stop_reason"].fillna("unknown")),
                "flagged": int(own.loc[own["total"].notna(), _flags(own)].any(axis=1).sum())
                if _flags(own)
                else 0,
            }
        )
    return table


def flags(sessions: pd.DataFrame, arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per arm: of the sessions that were held, how many carry each flag.

    Flags are outcomes; they exclude nothing.
    """
    names = sorted(_flags(sessions))
    table = []
    for arm in arms:
        held = sessions[(sessions["arm"] == arm["arm"]) & sessions["held"]]
        found = {name.removeprefix(FLAG): int(held[name].sum()) for name in names}
        table.append(
            {
                "arm": arm["arm"],
                "done": len(held),
                "any": int(held[names].any(axis=1).sum()) if names else 0,
                "flags": found,
            }
        )
    return table


def counts(words: pd.Series[str]) -> dict[str, int]:
    """How often each word occurs: most frequent first, ties by name."""
    found = {str(word): int(count) for word, count in words.value_counts().items()}
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _flags(sessions: pd.DataFrame) -> list[str]:
    return [name for name in sessions.columns if name.startswith(FLAG)]
