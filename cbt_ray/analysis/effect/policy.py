"""What an unrated session counts as, and what flagged ones do: the answers side by side.

`missing`: left out. `lowest`: the scale's lowest total where the chain lost the session (rejected, not reached, nothing to
rate); a judge's failure, and a session that the data do not hold, say nothing about the therapist and stay missing. `filled`
of a row counts the sessions that got the lowest total. `bounds`: the worst and the best that any value
of the unrated sessions could make of the contrast (Manski 1990, Am. Econ. Rev. 80:319-323). `lee`: bounds for the sessions that
either arm would have left rated, by trimming the arm with more of them (Lee 2009, Rev. Econ. Stud. 76:1071-1102). `unflagged`:
without flagged sessions; a sensitivity analysis and never the headline, since a flag is an outcome. An owed session is work not
done yet and counts in none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.contrast import Groups, contrasts, grouped, primary_pairs
from cbt_ray.analysis.scores import FLAG, OWED
from cbt_ray.analysis.settings import Policy, Settings

if TYPE_CHECKING:
    import pandas as pd


def counted(sessions: pd.DataFrame, policy: Policy, items: int, settings: Settings) -> pd.DataFrame:
    """The sessions with the totals that they count with under a policy; NaN where they do not count."""
    if policy == "missing":
        return sessions
    return sessions.assign(total=sessions["total"].mask(sessions["lost"], float(items * settings.lowest)))


def policies(sessions: pd.DataFrame, groups: Groups, items: int, settings: Settings) -> dict[str, Any]:
    """The primary contrasts under each policy."""
    pairs = primary_pairs(groups, settings)
    flags = [name for name in sessions.columns if name.startswith(FLAG)]
    clean = sessions.assign(total=sessions["total"].mask(sessions[flags].any(axis=1)) if flags else sessions["total"])
    usable = grouped(sessions[sessions["reason"] != OWED])
    lost = grouped(sessions)["group"][sessions["lost"]].value_counts()
    filled = [int(lost.get(treatment, 0) + lost.get(control, 0)) for _, treatment, control in pairs]
    none = [0] * len(pairs)
    return {
        "headline": settings.unrated,
        "missing": _with(none, contrasts(counted(sessions, "missing", items, settings), pairs, groups, settings)),
        "lowest": _with(filled, contrasts(counted(sessions, "lowest", items, settings), pairs, groups, settings)),
        "bounds": [_bounds(pair, usable, items, settings) for pair in pairs],
        "lee": [_lee(pair, usable) for pair in pairs],
        "unflagged": _with(none, contrasts(clean, pairs, groups, settings)),
    }


def _with(filled: Sequence[int], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"filled": count} for row, count in zip(rows, filled, strict=True)]


def _bounds(pair: tuple[str, str, str], usable: pd.DataFrame, items: int, settings: Settings) -> dict[str, Any]:
    label, treatment, control = pair
    row = {"label": label, "model": label, "treatment": treatment, "control": control, "method": "worst case"}
    if items == 0 or not {treatment, control} <= set(usable["group"]):
        return row | {"low": None, "high": None, "reason": "an arm has no session that was not owed"}
    bottom, top = float(items * settings.lowest), float(items * settings.highest)
    treated, controls = (_filled(usable[usable["group"] == group], bottom, top) for group in (treatment, control))
    return row | {"low": treated[0] - controls[1], "high": treated[1] - controls[0], "reason": None}


def _filled(own: pd.DataFrame, bottom: float, top: float) -> tuple[float, float]:
    """The mean of patients' means of chains' means with every unrated session at the bottom, and at the top."""
    ends = []
    for value in (bottom, top):
        totals = own["total"].fillna(value)
        chains = totals.groupby([own["patient"], own["chain"]], observed=True).mean()
        ends.append(float(chains.groupby(level=0).mean().mean()))
    return ends[0], ends[1]


def _lee(pair: tuple[str, str, str], usable: pd.DataFrame) -> dict[str, Any]:
    """Mean difference of sessions with the excess of rated ones trimmed from below, then from above. Sessions weigh alike."""
    label, treatment, control = pair
    row: dict[str, Any] = {"label": label, "model": label, "treatment": treatment, "control": control, "method": "Lee"}
    row |= dict.fromkeys(("low", "high", "trimmed", "share"))
    own = [usable[usable["group"] == group] for group in (treatment, control)]
    totals = [part["total"].dropna().sort_values().tolist() for part in own]
    if not all(totals):
        return row | {"reason": "an arm has no rated session"}
    rates = [len(values) / len(part) for values, part in zip(totals, own, strict=True)]
    more = 0 if rates[0] >= rates[1] else 1
    share = 1 - min(rates) / max(rates)
    cut = min(round(share * len(totals[more])), len(totals[more]) - 1)
    kept, other = totals[more], totals[1 - more]
    means = [_mean(kept[: len(kept) - cut]), _mean(kept[cut:])]
    signed = [(mean - _mean(other)) * (1 if more == 0 else -1) for mean in means]
    return row | {"low": min(signed), "high": max(signed), "trimmed": (treatment, control)[more], "share": share, "reason": None}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
