"""The number of words of a session as a row of the chain model: it goes along with scores and is no
cause that was set.

A therapist that talks more may be rated higher for it, or may talk more because the session goes
well: length comes after the arm, so holding it fixed takes away part of what the arm does. The row
says how much of a contrast goes along with length, no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.effect.asked import Arms
from cbt_ray.analysis.model import nested
from cbt_ray.analysis.model.chain_model import Prepared, difference
from cbt_ray.analysis.model.mixed import unfit
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

LABEL = "not causal"


def words(
    sessions: pd.DataFrame,
    model: Mapping[str, Any],
    primary: Sequence[Mapping[str, Any]],
    arms: Arms,
    settings: Settings,
) -> dict[str, Any]:
    """The slope of the total on the words (per standard deviation), and the primary contrasts by
    REML with it held fixed.
    """
    rated = sessions[sessions["total"].notna()]
    row: dict[str, Any] = {
        "term": "words",
        "label": LABEL,
        "estimate": None,
        "se": None,
        "sd_words": None,
        "contrasts": [],
    }
    if model.get("status") != "fitted":
        return row | {"reason": model.get("reason", "the chain model is not fitted")}
    if rated["words"].isna().any() or rated["words"].nunique() < 2:
        return row | {"reason": "the number of words is unknown or the same for all sessions"}
    own = Prepared(rated, settings, words=True)
    reason = unfit(own.frame, own.matrix())
    best = None if reason else nested.fit(own.sums(), reml=True)
    if best is None:
        return row | {"reason": reason or "no optimiser found a finite likelihood"}
    place = list(own.columns).index("words_z")
    held = [
        {
            **{"label": one["label"], "reml": one["reml"]},
            "words_held_fixed": float(
                sum(
                    difference(list(own.columns), arms[one["plus"]], arms[one["minus"]])
                    * best.estimates
                )
            ),
        }
        for one in primary
    ]
    return {
        **row,
        **{
            "estimate": float(best.estimates[place]),
            "se": float(best.covariance[place, place] ** 0.5),
        },
        **{"sd_words": float(rated["words"].std(ddof=1)), "contrasts": held, "reason": None},
    }
