"""What became of every scheduled session, and what was flagged: by arm, with reasons, as CONSORT counts participants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis.scores import OWED, SessionScore


def flow(sessions: Sequence[SessionScore], arm_list: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Per arm: scheduled -> reached -> done -> rated, the reasons of the unrated and why sessions ended."""
    table = []
    for arm in arm_list:
        own = [score for score in sessions if score.row.arm == arm["arm"]]
        table.append(
            {
                "arm": arm["arm"],
                "scheduled": len(own),
                "reached": sum(score.reached for score in own),
                "done": sum(score.done for score in own),
                "rated": sum(score.total is not None for score in own),
                "owed": sum(score.reason == OWED for score in own),
                "unrated": _counts([score.reason or "unknown" for score in own if score.total is None]),
                "stop_reasons": _counts([score.row.stop_reason or "unknown" for score in own if score.done]),
            }
        )
    return table


def flags(sessions: Sequence[SessionScore], arm_list: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Per arm: of the sessions that were held, how many carry each flag. Flags are outcomes; they exclude nothing."""
    names = sorted({flag for score in sessions for flag in score.row.flags})
    table = []
    for arm in arm_list:
        held = [score for score in sessions if score.row.arm == arm["arm"] and score.done]
        counts = {name: sum(name in score.row.flags for score in held) for name in names}
        table.append({"arm": arm["arm"], "done": len(held), "any": sum(bool(score.row.flags) for score in held), "flags": counts})
    return table


def _counts(words: Sequence[str]) -> dict[str, int]:
    """Most frequent first, ties by name."""
    return dict(sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0])))
