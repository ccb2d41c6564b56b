"""What an unrated session counts as: three answers, side by side.

`missing`: left out. `lowest`: the scale's lowest total where the chain lost the session (rejected, not reached, nothing to
rate); a judge's failure says nothing about the therapist and stays missing. `bounds`: the worst and the best that any value
of the unrated sessions could make of the contrast (Manski 1990, Am. Econ. Rev. 80:319-323). An owed session is work not
done yet and counts in none of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis.contrast import Counted, cells, contrasts, pairs
from cbt_ray.analysis.scores import OWED, SessionScore
from cbt_ray.analysis.settings import Policy, Settings


def counted(sessions: Sequence[SessionScore], policy: Policy, items: int, settings: Settings) -> Counted:
    """The sessions that count under a policy, each with its total."""
    found: list[tuple[SessionScore, float]] = []
    for score in sessions:
        if score.total is not None:
            found.append((score, score.total))
        elif policy == "lowest" and score.lost_by_therapy:
            found.append((score, float(items * settings.lowest)))
    return found


def policies(
    sessions: Sequence[SessionScore], arm_list: Sequence[dict[str, str]], items: int, settings: Settings
) -> dict[str, Any]:
    """The primary contrasts under each policy."""
    return {
        "headline": settings.unrated,
        "missing": contrasts(counted(sessions, "missing", items, settings), arm_list, settings),
        "lowest": contrasts(counted(sessions, "lowest", items, settings), arm_list, settings),
        "bounds": [_bounds(pair, sessions, items, settings) for pair in pairs(arm_list, settings)],
    }


def _bounds(pair: tuple[str, str, str], sessions: Sequence[SessionScore], items: int, settings: Settings) -> dict[str, Any]:
    model, treatment, control = pair
    bottom, top = float(items * settings.lowest), float(items * settings.highest)
    treated, controls = (_filled(sessions, arm, bottom, top) for arm in (treatment, control))
    row: dict[str, Any] = {"model": model, "treatment": treatment, "control": control, "method": "worst case"}
    if treated is None or controls is None or items == 0:
        return row | {"low": None, "high": None, "reason": "an arm has no session that was not owed"}
    return row | {"low": treated[0] - controls[1], "high": treated[1] - controls[0], "reason": None}


def _filled(sessions: Sequence[SessionScore], arm: str, bottom: float, top: float) -> tuple[float, float] | None:
    """The arm's mean of patients' means with every unrated session at the bottom, and at the top."""
    own = [score for score in sessions if score.row.arm == arm and score.reason != OWED]
    if not own:
        return None
    ends = []
    for value in (bottom, top):
        table = cells([(score, value if score.total is None else score.total) for score in own])
        ends.append(statistics.fmean([cell.mean for cell in table[arm].values()]))
    return ends[0], ends[1]
