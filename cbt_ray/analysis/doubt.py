"""What casts doubt on the numbers, said in sentences: computed from the scores alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cbt_ray.analysis.effect.contrast import Difference
from cbt_ray.analysis.effect.policy import Policies, moved, unheard
from cbt_ray.analysis.flow import counts
from cbt_ray.analysis.notice import Notice, by_weight
from cbt_ray.analysis.scores import ITEM, OWED
from cbt_ray.count import agreeing, many

if TYPE_CHECKING:
    import pandas as pd

FEW_PATIENTS = 10
WHY = {
    "not_rated": "not rated by this judge",
    "learned_from": "of patients whose ratings this judge learned from",
    "absent": "not among what was imported",
    "no_score": "without a score in the table",
    "division_by_zero": "without a value, since what it is divided by is 0",
}
"""Reasons that are no failure: nobody tried to rate the session. Every other one is."""
FAILED = "could not be rated"


def doubts(
    sessions: pd.DataFrame,
    primary: Sequence[Difference],
    policies: Policies,
    said: Iterable[Notice],
    once: Sequence[str],
    *,
    read: bool = True,
) -> list[Notice]:
    """The heaviest first.

    `said` are those of other sections; `once` the arms that were trained with one seed; `read`:
    the headline's rater read the sessions, and did not only count in them.
    """
    withheld = sum(row.low is None for row in primary)
    own = [
        *_of_sessions(sessions, read=read),
        Notice("unrated", _unrated(sessions, compared=bool(primary)), 50),
        Notice("withheld", _withheld(withheld, len(primary)), 55),
        Notice("one_checkpoint", _once(once), 30),
        *_unheard(sessions, policies),
    ]
    return by_weight([*(notice for notice in own if notice.text), *said])


def _of_sessions(sessions: pd.DataFrame, *, read: bool) -> list[Notice]:
    rated = sessions[sessions["total"].notna()]
    once = read and bool(len(rated)) and bool((rated["ratings"] == 1).all())
    return [
        Notice(
            "nothing_rated", "" if len(rated) else "No session is rated: there is no result.", 100
        ),
        Notice("owed", _owed(sessions), 95),
        Notice("few_patients", _few(sessions["patient"].nunique()), 80),
        Notice("alike", _alike(rated), 60),
        Notice(
            "once",
            "Each session was rated once: how repeatable the judge is, is unknown." if once else "",
            40,
        ),
    ]


def _owed(sessions: pd.DataFrame) -> str:
    owed = int((sessions["reason"] == OWED).sum())
    return (
        f"Owed: {owed} of {many(len(sessions), 'scheduled session')}; the study has not run to "
        "its end."
        if owed
        else ""
    )


def _withheld(withheld: int, of: int) -> str:
    return f"Contrasts without an interval: {withheld} of {of}; each says why." if withheld else ""


def _once(arms: Sequence[str]) -> str:
    return (
        f"One training run of {', '.join(arms)}: the result holds for these checkpoints, not "
        "for the method of training."
        if arms
        else ""
    )


def _unrated(sessions: pd.DataFrame, *, compared: bool) -> str:
    """How many have no rating, by why; without the owed ones."""
    reasons = sessions.loc[sessions["total"].isna() & (sessions["reason"] != OWED), "reason"]
    if not len(reasons):
        return ""
    by = "; ".join(
        f"{why}: {count}"
        for why, count in counts(reasons.map(lambda reason: WHY.get(reason, FAILED))).items()
    )
    where = "the flow and the policies" if compared else "the flow"
    return (
        f"Scheduled sessions without a rating: {len(reasons)} of {len(sessions)} ({by}); see "
        f"{where}."
    )


def _unheard(sessions: pd.DataFrame, found: Policies) -> list[Notice]:
    """Ratings of a text without a word of the therapist.

    Above the answer where leaving them out moves a headline.
    """
    silent = unheard(sessions)
    if not silent.any():
        return []
    changed = [
        f"{row.label} from {_signed(row.estimate)} to {_signed(other.estimate)}"
        for row, other in zip(found.counted, found.heard, strict=True)
        if moved(row, other)
    ]
    text = f"Rated without a word of the therapist in the text: {_by_arm(sessions, silent)}."
    if changed:
        text += (
            f" Without these the difference goes: {', '.join(changed)}; by more than half its "
            "standard error."
        )
    return [Notice("unheard", text, 85 if changed else 65)]


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _by_arm(sessions: pd.DataFrame, chosen: pd.Series[bool]) -> str:
    """`12 of 230 rated sessions (a: 10 of 36, b: 2 of 40)`."""
    rated = sessions.loc[sessions["total"].notna(), "arm"].value_counts()
    arms = ", ".join(
        f"{arm}: {count} of {rated[arm]}"
        for arm, count in counts(sessions.loc[chosen, "arm"]).items()
    )
    return f"{int(chosen.sum())} of {many(rated.sum(), 'rated session')} ({arms})"


def _alike(rated: pd.DataFrame) -> str:
    """A judge that gives every item the same score rates once, not once an item."""
    items = [name for name in rated.columns if name.startswith(ITEM)]
    if len(items) < 2 or not len(rated):
        return ""
    scores = rated[items]
    alike = int(((scores.min(axis=1) == scores.max(axis=1)) & (scores.count(axis=1) > 1)).sum())
    if 2 * alike < len(rated) or not alike:
        return ""
    return (
        f"{alike} of {many(len(rated), 'rated session')} {agreeing(alike, 'has', 'have')} the "
        "same score on all items: the judge does not tell the items apart."
    )


def _few(patients: int) -> str:
    if patients >= FEW_PATIENTS or not patients:
        return ""
    noun = "patient" if patients == 1 else "patients"
    return (
        f"{patients} simulated {noun}: fewer than {FEW_PATIENTS}, so the result says little "
        "about other patients."
    )
