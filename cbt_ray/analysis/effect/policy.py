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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cbt_ray.analysis.effect.asked import Arms, Comparison, heads, pairs_of
from cbt_ray.analysis.effect.contrast import Difference, Effect, contrasts
from cbt_ray.analysis.scores import FLAG, OWED
from cbt_ray.analysis.settings import Policy, Settings
from cbt_ray.study.contrast import Pair

if TYPE_CHECKING:
    import pandas as pd


SAME = 1e-9
NO_ENDS = "the measure has no lowest or no highest value"
NO_LOWEST = "the measure has no lowest value"


@dataclass(frozen=True, kw_only=True)
class PolicyEffect(Effect):
    """A contrast under a policy."""

    filled: int
    """Sessions that were given the lowest total."""
    left_out: int
    """Rated sessions that it does without."""


@dataclass(frozen=True, kw_only=True)
class Bounds(Comparison):
    """What a contrast lies between."""

    method: str
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeeBounds(Bounds):
    """Bounds by trimming the arm with more rated sessions."""

    trimmed: str | None = None
    """That arm."""
    share: float | None = None
    """Of its sessions that are trimmed."""


@dataclass(frozen=True)
class Policies:
    """The primary contrasts under each policy, row by row."""

    headline: Policy
    missing: Sequence[PolicyEffect]
    lowest: Sequence[PolicyEffect]
    bounds: Sequence[Bounds]
    lee: Sequence[LeeBounds]
    unflagged: Sequence[PolicyEffect]
    heard: Sequence[PolicyEffect]

    @property
    def counted(self) -> Sequence[PolicyEffect]:
        """The headline's rows."""
        return self.missing if self.headline == "missing" else self.lowest


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


def policies(sessions: pd.DataFrame, arms: Arms, items: int, settings: Settings) -> Policies:
    """The primary contrasts under each policy."""
    pairs = pairs_of("primary", arms, settings)
    flags = [name for name in sessions.columns if name.startswith(FLAG)]
    silent = unheard(sessions)
    total, heard = sessions["total"], counted(sessions, settings.unrated, items, settings)["total"]
    clean = total.mask(sessions[flags].any(axis=1)) if flags else total
    usable = sessions[sessions["reason"] != OWED]
    none = [0] * len(pairs)

    def rows(
        totals: pd.Series[float], filled: Sequence[int] = none, left_out: Sequence[int] = none
    ) -> list[PolicyEffect]:
        found = contrasts(sessions.assign(total=totals), pairs, arms, settings)
        return [
            PolicyEffect(**vars(row), filled=a, left_out=b)
            for row, a, b in zip(found, filled, left_out, strict=True)
        ]

    return Policies(
        headline=settings.unrated,
        missing=rows(total),
        lowest=_lowest(rows, sessions, pairs, items, settings),
        bounds=[_bounds(head, usable, items, settings) for head in heads(pairs)],
        lee=[_lee(head, usable) for head in heads(pairs)],
        unflagged=rows(clean, left_out=_sizes(sessions, total.notna() & clean.isna(), pairs)),
        heard=rows(heard.mask(silent), left_out=_sizes(sessions, silent, pairs)),
    )


def _lowest(
    rows: Callable[..., list[PolicyEffect]],
    sessions: pd.DataFrame,
    pairs: Sequence[Pair],
    items: int,
    settings: Settings,
) -> list[PolicyEffect]:
    filled = _sizes(sessions, sessions["lost"], pairs)
    if settings.ends(items)[0] is not None:
        return rows(counted(sessions, "lowest", items, settings)["total"], filled=filled)
    withheld = rows(sessions["total"].mask(sessions["total"].notna()))
    return [replace(row, reason=NO_LOWEST) for row in withheld]


def unheard(sessions: pd.DataFrame) -> pd.Series[bool]:
    """The rated sessions whose rater is known to have read no word of the therapist."""
    return sessions["total"].notna() & (sessions["heard"] == 0)


def moved(row: Difference, other: Difference) -> bool:
    """Is another answer more than half a standard error away from the headline's."""
    if row.estimate is None or other.estimate is None:
        return row.estimate != other.estimate
    return abs(other.estimate - row.estimate) > 0.5 * (row.se or 0.0) + SAME


def _sizes(sessions: pd.DataFrame, chosen: pd.Series[bool], pairs: Sequence[Pair]) -> list[int]:
    """How many of the chosen sessions each pair has."""
    of_arm = sessions["arm"][chosen].value_counts()
    return [int(of_arm.get(pair.plus, 0) + of_arm.get(pair.minus, 0)) for pair in pairs]


def _bounds(head: Comparison, usable: pd.DataFrame, items: int, settings: Settings) -> Bounds:
    method = "worst case"
    bottom, top = settings.ends(items)
    if bottom is None or top is None:
        return Bounds(**vars(head), method=method, reason=NO_ENDS)
    nothing = items == 0 and settings.total is None
    if nothing or not {head.plus, head.minus} <= set(usable["arm"]):
        reason = "an arm has no session that was not owed"
        return Bounds(**vars(head), method=method, reason=reason)
    plus, minus = (
        _filled(usable[usable["arm"] == arm], bottom, top) for arm in (head.plus, head.minus)
    )
    return Bounds(**vars(head), method=method, low=plus[0] - minus[1], high=plus[1] - minus[0])


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


def _lee(head: Comparison, usable: pd.DataFrame) -> LeeBounds:
    """Mean difference of sessions with the excess of rated ones trimmed from below, then from
    above. Sessions weigh alike.
    """
    own = [usable[usable["arm"] == arm] for arm in (head.plus, head.minus)]
    totals = [part["total"].dropna().sort_values().tolist() for part in own]
    if not all(totals):
        return LeeBounds(**vars(head), method="Lee", reason="an arm has no rated session")
    rates = [len(values) / len(part) for values, part in zip(totals, own, strict=True)]
    more = 0 if rates[0] >= rates[1] else 1
    share = 1 - min(rates) / max(rates)
    cut = min(round(share * len(totals[more])), len(totals[more]) - 1)
    kept, other = totals[more], totals[1 - more]
    means = [_mean(kept[: len(kept) - cut]), _mean(kept[cut:])]
    signed = [(mean - _mean(other)) * (1 if more == 0 else -1) for mean in means]
    return LeeBounds(
        **vars(head),
        method="Lee",
        low=min(signed),
        high=max(signed),
        trimmed=(head.plus, head.minus)[more],
        share=share,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
