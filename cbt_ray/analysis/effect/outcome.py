"""Outcomes: the arms compared in each declared measure, the headline's total first.

Holm goes over the primary contrasts of all outcomes that were declared primary; any other outcome
is adjusted within itself. A measure that a session does not have (a ratio over nothing) is missing
with its reason, and never a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from cbt_ray.analysis.describe import summary
from cbt_ray.analysis.effect.asked import Arms, pairs_of
from cbt_ray.analysis.effect.contrast import Effect, contrasts, holm
from cbt_ray.analysis.effect.layout import ChainMeans, Chains
from cbt_ray.analysis.effect.policy import counted
from cbt_ray.analysis.effect.repeated import Named
from cbt_ray.analysis.effect.tally import of_arm
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.analysis.flow import counts
from cbt_ray.analysis.scores import Scores
from cbt_ray.analysis.settings import Outcome, Settings

if TYPE_CHECKING:
    import pandas as pd

E = TypeVar("E", bound=Effect)


@dataclass(frozen=True)
class OutcomeArm:
    """An outcome in one arm."""

    arm: str
    scheduled: int
    n: int
    """Sessions with a value."""
    mean: float | None
    sd: float | None
    estimate: Estimate | None = None
    """Of what is no score: the mean of patients' means as contrasts count it, with its interval."""


@dataclass(frozen=True)
class OutcomeFound(Outcome):
    """An outcome with what was found in it."""

    view: str
    """The view that its rater read."""
    family: int
    """Contrasts that its p values are adjusted for."""
    arms: Sequence[OutcomeArm]
    without: Mapping[str, int]
    """Why sessions have no value -> how many."""
    contrasts: Sequence[Effect]
    """The primary contrasts, adjusted by Holm over the outcome's family."""
    reason: str | None = None
    """Why there is none."""


def outcomes(
    scores: Scores, sessions: pd.DataFrame, arms: Arms, settings: Settings
) -> list[OutcomeFound]:
    """Every outcome; `sessions` are the headline's."""
    asked = settings.outcomes or (_total(settings),)
    first = replace(asked[0], rater=settings.judge)
    found = [
        _found(first, settings.view, sessions, arms, settings),
        *(_other(one, scores, arms, settings) for one in asked[1:]),
    ]
    return together(found, len(pairs_of("primary", arms, settings)))


def together(found: Sequence[OutcomeFound], pairs: int) -> list[OutcomeFound]:
    """The outcomes with Holm over the contrasts of all that are primary.

    `pairs`: how many each was declared with; one that was not computed counts as p = 1.
    """
    known = [p for one in found if one.primary for p in _p_values(one, pairs)]
    adjusted, placed = iter(holm(known)), []
    for one in found:
        own = [next(adjusted) for _ in range(pairs)] if one.primary else []
        rows = with_p(one.contrasts, own) if one.contrasts and own else one.contrasts
        placed.append(replace(one, family=len(known) if one.primary else pairs, contrasts=rows))
    return placed


def with_p(rows: Sequence[E], adjusted: Sequence[float | None]) -> list[E]:
    """Contrasts with other adjusted p values; a withheld p has none."""
    return [
        replace(row, p_adjusted=None if row.p is None else p)
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _total(settings: Settings) -> Outcome:
    """The headline, where no outcome was declared."""
    low, high = settings.ends(len(settings.items))
    return Outcome(settings.judge, "total", "Total", low, high, settings.kind, primary=True)


def _other(outcome: Outcome, scores: Scores, arms: Arms, settings: Settings) -> OutcomeFound:
    """An outcome that is not the headline's, in the headline's view where its rater has that."""
    view = _view(outcome, scores, settings)
    if view is None:
        reason = f"no session was rated by {outcome.rater}"
        return OutcomeFound(
            **vars(outcome), view="", family=0, arms=[], without={}, contrasts=[], reason=reason
        )
    sessions = scores.on(outcome.measure).sessions(view, outcome.rater)
    return _found(outcome, view, sessions, arms, settings)


def _view(outcome: Outcome, scores: Scores, settings: Settings) -> str | None:
    """The view of an outcome's rater that is compared; None where it rated nothing."""
    own = scores.ratings[scores.ratings["judge"] == outcome.rater]
    views = sorted(map(str, own["view"].unique()))
    return settings.view if settings.view in views else next(iter(views), None)


def beside_headline(scores: Scores, settings: Settings) -> dict[Named, pd.DataFrame]:
    """Session rows of each outcome but the headline's; `total` is NaN where one does not count."""
    found: dict[Named, pd.DataFrame] = {}
    for outcome in settings.outcomes[1:]:
        if (view := _view(outcome, scores, settings)) is not None:
            sessions = scores.on(outcome.measure).sessions(view, outcome.rater)
            own = _settings_of(outcome, settings)
            name = (outcome.measure, outcome.title, outcome.kind)
            found[name] = counted(sessions, own.unrated, len(own.items), own)
    return found


def _settings_of(outcome: Outcome, settings: Settings) -> Settings:
    """The settings with an outcome as the total."""
    return replace(settings, total=(outcome.low, outcome.high), kind=outcome.kind)


def _found(
    outcome: Outcome, view: str, sessions: pd.DataFrame, arms: Arms, settings: Settings
) -> OutcomeFound:
    own = _settings_of(outcome, settings)
    used = counted(sessions, own.unrated, len(own.items), own)
    of_chains = Chains(used).means(used["total"])
    pairs = pairs_of("primary", arms, settings)
    return OutcomeFound(
        **vars(outcome),
        view=view,
        family=0,
        arms=[_arm(arm, sessions, of_chains, own) for arm in arms],
        without=counts(sessions["reason"].dropna()),
        contrasts=contrasts(used, pairs, arms, own),
        reason=None if pairs else "no primary contrast is asked",
    )


def _arm(arm: str, sessions: pd.DataFrame, of_chains: ChainMeans, settings: Settings) -> OutcomeArm:
    own = sessions.loc[sessions["arm"] == arm, "total"]
    known = summary(own)
    estimate = None if settings.kind == "score" else of_arm(of_chains, arm, settings)
    return OutcomeArm(arm, len(own), known.n, known.mean, known.sd, estimate)


def _p_values(one: OutcomeFound, pairs: int) -> list[float]:
    known = [1.0 if row.p is None else row.p for row in one.contrasts]
    return known or [1.0] * pairs
