"""What an unrated session counts as, and what flagged ones do: the answers side by side.

`missing`: left out. `lowest`: the scale's lowest total where the chain lost the session (rejected,
not reached, nothing to rate); a judge's failure, and a session that the data do not hold, say
nothing about the therapist and stay missing. `filled` of a row counts the sessions that got the
lowest total. `bounds`: the worst and the best that any value of the unrated sessions could make of
the contrast (Manski 1990, Am. Econ. Rev. 80:319-323). `lee`: bounds for the sessions that either
arm would have left rated, by trimming the arm with more of them (Lee 2009, Rev. Econ. Stud.
76:1071-1102). `unflagged`: without flagged sessions; a sensitivity analysis and never the headline,
since a flag is an outcome. `heard`: as the headline, but without ratings of a text in which no word
of the therapist was left: they rate nobody. `left_out` counts the rated sessions that a row does
without. An owed session is work not done yet and counts in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.asked import Arms, heads, pairs_of
from cbt_ray.analysis.effect.contrast import contrasts
from cbt_ray.analysis.scores import FLAG, OWED
from cbt_ray.analysis.settings import Policy, Settings
from cbt_ray.study.contrast import Pair

if TYPE_CHECKING:
    import pandas as pd


SAME = 1e-9
NO_ENDS = "the measure has no lowest or no highest value"
NO_LOWEST = "the measure has no lowest value"


def counted(sessions: pd.DataFrame, policy: Policy, items: int, settings: Settings) -> pd.DataFrame:
    """The sessions with the totals that they count with under a policy.

    NaN where they do not count. A measure without a lowest value has none to count with.
    """
    if policy == "missing":
        return sessions
    lowest = settings.ends(items)[0]
    if lowest is None:
        return sessions
    return sessions.assign(total=sessions["total"].mask(sessions["lost"], lowest))


def policies(sessions: pd.DataFrame, arms: Arms, items: int, settings: Settings) -> dict[str, Any]:
    """The primary contrasts under each policy."""
    pairs = pairs_of("primary", arms, settings)
    named = list(zip(pairs, heads(pairs), strict=True))
    flags = [name for name in sessions.columns if name.startswith(FLAG)]
    clean = sessions.assign(
        total=sessions["total"].mask(sessions[flags].any(axis=1)) if flags else sessions["total"]
    )
    heard = counted(sessions, settings.unrated, items, settings)
    heard = heard.assign(total=heard["total"].mask(unheard(sessions)))
    usable = sessions[sessions["reason"] != OWED]
    flagged = sessions["total"].notna() & clean["total"].isna()
    filled, without, silent = (
        _sizes(sessions, chosen, pairs) for chosen in (sessions["lost"], flagged, unheard(sessions))
    )
    none = [0] * len(pairs)
    return {
        "headline": settings.unrated,
        "missing": _with(
            none,
            none,
            contrasts(counted(sessions, "missing", items, settings), pairs, arms, settings),
        ),
        "lowest": _with(
            filled,
            none,
            _lowest(sessions, pairs, arms, items, settings),
        ),
        "bounds": [_bounds(pair, head, usable, items, settings) for pair, head in named],
        "lee": [_lee(pair, head, usable) for pair, head in named],
        "unflagged": _with(none, without, contrasts(clean, pairs, arms, settings)),
        "heard": _with(none, silent, contrasts(heard, pairs, arms, settings)),
    }


def _lowest(
    sessions: pd.DataFrame, pairs: Sequence[Pair], arms: Arms, items: int, settings: Settings
) -> list[dict[str, Any]]:
    if settings.ends(items)[0] is not None:
        return contrasts(counted(sessions, "lowest", items, settings), pairs, arms, settings)
    rows = contrasts(sessions.assign(total=float("nan")), pairs, arms, settings)
    return [row | {"reason": NO_LOWEST} for row in rows]


def unheard(sessions: pd.DataFrame) -> pd.Series[bool]:
    """The rated sessions whose rater is known to have read no word of the therapist."""
    return sessions["total"].notna() & (sessions["heard"] == 0)


def moved(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Is another answer more than half a standard error away from the headline's."""
    if row["estimate"] is None or other["estimate"] is None:
        return bool(row["estimate"] != other["estimate"])
    return bool(abs(other["estimate"] - row["estimate"]) > 0.5 * (row["se"] or 0.0) + SAME)


def _sizes(sessions: pd.DataFrame, chosen: pd.Series[bool], pairs: Sequence[Pair]) -> list[int]:
    """How many of the chosen sessions each pair has."""
    of_arm = sessions["arm"][chosen].value_counts()
    return [int(of_arm.get(pair.plus, 0) + of_arm.get(pair.minus, 0)) for pair in pairs]


def _with(
    filled: Sequence[int], left_out: Sequence[int], rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        row | {"filled": a, "left_out": b} for row, a, b in zip(rows, filled, left_out, strict=True)
    ]


def _bounds(
    pair: Pair,
    head: Mapping[str, Any],
    usable: pd.DataFrame,
    items: int,
    settings: Settings,
) -> dict[str, Any]:
    row = {**head, "method": "worst case"}
    bottom, top = settings.ends(items)
    if bottom is None or top is None:
        return row | {"low": None, "high": None, "reason": NO_ENDS}
    if (items == 0 and settings.total is None) or not {pair.plus, pair.minus} <= set(usable["arm"]):
        return row | {
            "low": None,
            "high": None,
            "reason": "an arm has no session that was not owed",
        }
    plus, minus = (
        _filled(usable[usable["arm"] == arm], bottom, top) for arm in (pair.plus, pair.minus)
    )
    return row | {"low": plus[0] - minus[1], "high": plus[1] - minus[0], "reason": None}


def _filled(own: pd.DataFrame, bottom: float, top: float) -> tuple[float, float]:
    """The mean of patients' means of chains' means with every unrated session at the bottom, and at
    the top.
    """
    ends = []
    for value in (bottom, top):
        totals = own["total"].fillna(value)
        chains = totals.groupby([own["patient"], own["chain"]], observed=True).mean()
        ends.append(float(chains.groupby(level=0).mean().mean()))
    return ends[0], ends[1]


def _lee(pair: Pair, head: Mapping[str, Any], usable: pd.DataFrame) -> dict[str, Any]:
    """Mean difference of sessions with the excess of rated ones trimmed from below, then from
    above. Sessions weigh alike.
    """
    row: dict[str, Any] = {**head, "method": "Lee"}
    row |= dict.fromkeys(("low", "high", "trimmed", "share"))
    own = [usable[usable["arm"] == arm] for arm in (pair.plus, pair.minus)]
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
    return row | {
        "low": min(signed),
        "high": max(signed),
        "trimmed": (pair.plus, pair.minus)[more],
        "share": share,
        "reason": None,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
