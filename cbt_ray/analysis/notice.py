"""What casts doubt on the numbers, said in sentences: computed from the scores alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.policy import moved, unheard
from cbt_ray.analysis.flow import counts
from cbt_ray.analysis.scores import ITEM, OWED

if TYPE_CHECKING:
    import pandas as pd

FEW_PATIENTS = 10
WHY = {
    "not_rated": "not rated by this judge",
    "absent": "not among what was imported",
    "no_score": "without a score in the table",
    "division_by_zero": "without a value, since what it is divided by is 0",
}
"""Reasons that are no failure: nobody tried to rate the session. Every other one is."""
FAILED = "could not be rated"


def notices(
    sessions: pd.DataFrame,
    primary: Sequence[Mapping[str, Any]],
    policies: Mapping[str, Any],
    sections: Sequence[Mapping[str, Any]],
    once: Sequence[str],
    *,
    read: bool = True,
) -> list[dict[str, Any]]:
    """The heaviest first; `id` is stable.

    `read`: the headline's rater read the sessions, and did not only count in them.

    `sections` are parts of the result that may carry notices of their own; `once` the arms that
    were trained with one seed.
    """
    said = [*_own(sessions, primary, once, read=read), *_unheard(sessions, policies)]
    own = [{"id": name, "text": text, "weight": weight} for name, weight, text in said if text]
    own += [notice for section in sections for notice in section.get("notices", [])]
    return sorted(own, key=lambda notice: -int(notice["weight"]))


def _own(
    sessions: pd.DataFrame,
    primary: Sequence[Mapping[str, Any]],
    once: Sequence[str],
    *,
    read: bool,
) -> list[tuple[str, int, str]]:
    rated = sessions[sessions["total"].notna()]
    owed = int((sessions["reason"] == OWED).sum())
    withheld = [row for row in primary if row["low"] is None]
    return [
        ("nothing_rated", 100, "" if len(rated) else "No session is rated: there is no result."),
        (
            "owed",
            95,
            f"Owed: {owed} of {len(sessions)} scheduled sessions; the study has not run to its end."
            if owed
            else "",
        ),
        ("few_patients", 80, _few(sessions["patient"].nunique())),
        ("unrated", 50, _unrated(sessions, primary)),
        (
            "withheld",
            55,
            f"Contrasts without an interval: {len(withheld)} of {len(primary)}; each says why."
            if withheld
            else "",
        ),
        ("alike", 60, _alike(rated)),
        (
            "once",
            40,
            "Each session was rated once: how repeatable the judge is, is unknown."
            if read and len(rated) and (rated["ratings"] == 1).all()
            else "",
        ),
        (
            "one_checkpoint",
            30,
            f"One training run of {', '.join(once)}: the result holds for these checkpoints, not "
            "for the method of training."
            if once
            else "",
        ),
    ]


def _unrated(sessions: pd.DataFrame, primary: Sequence[Mapping[str, Any]]) -> str:
    """How many have no rating, by why; without the owed ones."""
    reasons = sessions.loc[sessions["total"].isna() & (sessions["reason"] != OWED), "reason"]
    if not len(reasons):
        return ""
    by = "; ".join(
        f"{why}: {count}"
        for why, count in counts(reasons.map(lambda reason: WHY.get(reason, FAILED))).items()
    )
    where = "the flow and the policies" if primary else "the flow"
    return (
        f"Scheduled sessions without a rating: {len(reasons)} of {len(sessions)} ({by}); see "
        f"{where}."
    )


def _unheard(sessions: pd.DataFrame, found: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Ratings of a text without a word of the therapist.

    Above the answer where leaving them out moves a headline.
    """
    silent = unheard(sessions)
    if not silent.any():
        return []
    pairs = list(zip(found[found["headline"]], found["heard"], strict=True))
    far = [moved(row, other) for row, other in pairs]
    changed = [
        f"{row['label']} from {_signed(row['estimate'])} to {_signed(other['estimate'])}"
        for (row, other), moves in zip(pairs, far, strict=True)
        if moves
    ]
    text = f"Rated without a word of the therapist in the text: {_by_arm(sessions, silent)}."
    if changed:
        text += (
            f" Without these the difference goes: {', '.join(changed)}; by more than half its "
            "standard error."
        )
    return [("unheard", 85 if changed else 65, text)]


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _by_arm(sessions: pd.DataFrame, chosen: pd.Series[bool]) -> str:
    """`12 of 230 rated sessions (a: 10 of 36, b: 2 of 40)`."""
    rated = sessions.loc[sessions["total"].notna(), "arm"].value_counts()
    arms = ", ".join(
        f"{arm}: {count} of {rated[arm]}"
        for arm, count in counts(sessions.loc[chosen, "arm"]).items()
    )
    return f"{int(chosen.sum())} of {rated.sum()} rated sessions ({arms})"


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
        f"{alike} of {len(rated)} rated sessions have the same score on all items: the judge "
        "does not tell the items apart."
    )


def _few(patients: int) -> str:
    if patients >= FEW_PATIENTS or not patients:
        return ""
    noun = "patient" if patients == 1 else "patients"
    return (
        f"{patients} simulated {noun}: fewer than {FEW_PATIENTS}, so the result says little "
        "about other patients."
    )
