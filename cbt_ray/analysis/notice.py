"""What casts doubt on the numbers, said in sentences: computed from the scores alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.scores import ITEM, OWED

if TYPE_CHECKING:
    import pandas as pd

FEW_PATIENTS = 10


def notices(
    sessions: pd.DataFrame, primary: Sequence[Mapping[str, Any]], sections: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The heaviest first; `id` is stable. `sections` are parts of the result that may carry notices of their own."""
    own = [{"id": name, "text": text, "weight": weight} for name, weight, text in _own(sessions, primary) if text]
    own += [notice for section in sections for notice in section.get("notices", [])]
    return sorted(own, key=lambda notice: -int(notice["weight"]))


def _own(sessions: pd.DataFrame, primary: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    rated = sessions[sessions["total"].notna()]
    owed = int((sessions["reason"] == OWED).sum())
    lost = len(sessions) - len(rated) - owed
    withheld = [row for row in primary if row["low"] is None]
    return [
        ("nothing_rated", 100, "" if len(rated) else "No session is rated: there is no result."),
        ("owed", 95, f"Owed: {owed} of {len(sessions)} scheduled sessions; the study has not run to its end." if owed else ""),
        ("few_patients", 80, _few(sessions["patient"].nunique())),
        (
            "unrated",
            50,
            f"Scheduled sessions that could not be rated: {lost} of {len(sessions)}; see the flow and the policies."
            if lost
            else "",
        ),
        ("withheld", 55, f"Contrasts without an interval: {len(withheld)} of {len(primary)}; each says why." if withheld else ""),
        ("alike", 60, _alike(rated)),
        (
            "once",
            40,
            "Each session was rated once: how repeatable the judge is, is unknown."
            if len(rated) and (rated["ratings"] == 1).all()
            else "",
        ),
        (
            "one_checkpoint",
            30,
            "One training run per model: the result holds for these checkpoints, not for the method of training.",
        ),
    ]


def _alike(rated: pd.DataFrame) -> str:
    """A judge that gives every item the same score rates once, not once an item."""
    items = [name for name in rated.columns if name.startswith(ITEM)]
    if len(items) < 2 or not len(rated):
        return ""
    scores = rated[items]
    alike = int(((scores.min(axis=1) == scores.max(axis=1)) & (scores.count(axis=1) > 1)).sum())
    if 2 * alike < len(rated) or not alike:
        return ""
    return f"{alike} of {len(rated)} rated sessions have the same score on all items: the judge does not tell the items apart."


def _few(patients: int) -> str:
    if patients >= FEW_PATIENTS:
        return ""
    noun = "patient" if patients == 1 else "patients"
    return f"{patients} simulated {noun}: fewer than {FEW_PATIENTS}, so the result says little about other patients."
