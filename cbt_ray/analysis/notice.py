"""What casts doubt on the numbers, said in sentences: computed from the scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis.scores import OWED, SessionScore

FEW_PATIENTS = 10


def notices(sessions: Sequence[SessionScore], contrasts: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """In the order of their weight; `id` is stable."""
    rated = [score for score in sessions if score.total is not None]
    patients = {score.row.patient for score in sessions}
    owed = sum(score.reason == OWED for score in sessions)
    lost = sum(score.total is None for score in sessions) - owed
    withheld = [row for row in contrasts if row["low"] is None]
    found = {
        "nothing_rated": "" if rated else "No session is rated: there is no result.",
        "owed": f"Owed: {owed} of {len(sessions)} scheduled sessions; the study has not run to its end." if owed else "",
        "few_patients": _few(len(patients)),
        "unrated": f"Scheduled sessions that could not be rated: {lost} of {len(sessions)}; see the flow and the policies."
        if lost
        else "",
        "withheld": f"Contrasts without an interval: {len(withheld)} of {len(contrasts)}; each says why." if withheld else "",
        "alike": _alike(rated),
        "once": "Each session was rated once: how repeatable the judge is, is unknown."
        if rated and all(len(score.totals) == 1 for score in rated)
        else "",
        "uncalibrated": "Uncalibrated judge: no human rated these sessions, so scores show what this judge says and no more.",
        "one_checkpoint": "One training run per model: the result holds for these checkpoints, not for the method of training.",
    }
    return [{"id": name, "text": text} for name, text in found.items() if text]


def _alike(rated: Sequence[SessionScore]) -> str:
    """A judge that gives every item the same score rates once, not once an item."""
    alike = sum(len(score.items) > 1 and len(set(score.items.values())) == 1 for score in rated)
    if 2 * alike < len(rated) or not alike:
        return ""
    return f"{alike} of {len(rated)} rated sessions have the same score on all items: the judge does not tell the items apart."


def _few(patients: int) -> str:
    if patients >= FEW_PATIENTS:
        return ""
    noun = "patient" if patients == 1 else "patients"
    return f"{patients} simulated {noun}: fewer than {FEW_PATIENTS}, so the result says little about other patients."
