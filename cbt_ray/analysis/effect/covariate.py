"""The number of words of a session as a row of the chain model: it goes along with scores and is no
cause that was set.

A therapist that talks more may be rated higher for it, or may talk more because the session goes
well: length comes after the arm, so holding it fixed takes away part of what the arm does. The row
says how much of a contrast goes along with length, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.effect.asked import Arms
from cbt_ray.analysis.effect.family import TotalEffect
from cbt_ray.analysis.model import nested
from cbt_ray.analysis.model.chain_model import ChainModel
from cbt_ray.analysis.model.design import Prepared, difference, unfit
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class WordsHeld(Keyed):
    """A primary contrast by REML, and with the number of words held fixed."""

    label: str
    reml: float | None
    words_held_fixed: float


@dataclass(frozen=True)
class Covariate(Keyed):
    """The slope of the total on a number, per standard deviation of it."""

    term: str = "words"
    label: str = "not causal"
    estimate: float | None = None
    se: float | None = None
    sd_words: float | None = None
    contrasts: Sequence[WordsHeld] = ()
    reason: str | None = None


def words(
    sessions: pd.DataFrame,
    model: ChainModel,
    primary: Sequence[TotalEffect],
    arms: Arms,
    settings: Settings,
) -> Covariate:
    """The slope of the total on the words (per standard deviation), and the primary contrasts by
    REML with it held fixed.
    """
    rated = sessions[sessions["total"].notna()]
    if model.status != "fitted":
        return Covariate(reason=model.reason)
    if rated["words"].isna().any() or rated["words"].nunique() < 2:
        return Covariate(reason="the number of words is unknown or the same for all sessions")
    own = Prepared(rated, settings, words=True)
    reason = unfit(own.frame, own.matrix())
    best = None if reason else nested.fit(own.sums(), reml=True)
    if best is None:
        return Covariate(reason=reason or "no optimiser found a finite likelihood")
    columns = list(own.columns)
    place = columns.index("words_z")
    held = [
        WordsHeld(row.label, row.reml, float(sum(weights * best.estimates)))
        for row in primary
        for weights in [difference(columns, arms[row.plus], arms[row.minus])]
    ]
    return Covariate(
        estimate=float(best.estimates[place]),
        se=float(best.covariance[place, place] ** 0.5),
        sd_words=float(rated["words"].std(ddof=1)),
        contrasts=held,
    )
