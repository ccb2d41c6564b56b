"""The analysis as a whole: a pure function from scores and settings to typed sections.

`analysis.json` is made of them, field by field (docs/analysis.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis import describe
from cbt_ray.analysis.document import Keyed
from cbt_ray.analysis.effect.asked import pairs_of, settled, trained
from cbt_ray.analysis.effect.contrast import Effect, contrasts
from cbt_ray.analysis.effect.covariate import Covariate, words
from cbt_ray.analysis.effect.family import Families, Refits, families, refitted
from cbt_ray.analysis.effect.omnibus import Omnibus, omnibus
from cbt_ray.analysis.effect.outcome import OutcomeFound, outcomes, with_p
from cbt_ray.analysis.effect.policy import Policies, counted, policies
from cbt_ray.analysis.effect.power import power
from cbt_ray.analysis.effect.repeated import of_sessions
from cbt_ray.analysis.effect.slope import Slopes, slopes
from cbt_ray.analysis.flow import flags, flow
from cbt_ray.analysis.judge.reliability import reliability
from cbt_ray.analysis.model.chain_model import ChainModel, chain_model
from cbt_ray.analysis.model.mixed import PublishedModel, published
from cbt_ray.analysis.notice import notices
from cbt_ray.analysis.scale.scale import scale
from cbt_ray.analysis.scores import OWED, RULE, ScoreRow, Scores
from cbt_ray.analysis.settings import Settings
from cbt_ray.study.imported import OWN_JUDGE

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 3
"""Raised whenever a key changes its meaning or goes away."""


@dataclass(frozen=True)
class Item(Keyed):
    """An item of the scale, with its readable name."""

    item: str
    title: str


@dataclass(frozen=True)
class MixedModels(Keyed):
    """The mixed models of all sessions."""

    published: PublishedModel
    reduced: PublishedModel | None
    """Where the published formula cannot be fitted."""
    default: ChainModel


@dataclass(frozen=True)
class OtherView(Keyed):
    """What the headline's judge says of the same sessions in another view."""

    scores: Any
    contrasts: Sequence[Effect]


@dataclass(frozen=True)
class Analysis(Keyed):
    """Everything that the report prints about scores: one field a section."""

    schema_version: int
    settings: Settings
    """Everything that a number depends on beside the scores."""
    view: str
    """The view whose ratings make the headline."""
    judge: str
    """Whose ratings make the headline."""
    judges: Mapping[str, str]
    """Judge -> `model`, `human` or `rule`."""
    items: Sequence[Item]
    arms: Any
    counts: Any
    notices: Any
    """What casts doubt, the heaviest first."""
    scores: Any
    distribution: Any
    trajectory: Any
    contrasts: Families
    outcomes: Sequence[OutcomeFound]
    """What arms are compared in, in the declared order; the first is the headline."""
    policies: Policies
    tests: Sequence[Omnibus]
    slopes: Slopes
    cells: Any
    models: MixedModels
    covariates: Sequence[Covariate]
    refitted: Refits | None
    """Null unless `settings.thorough`."""
    flow: Any
    flags: Any
    views: Mapping[str, OtherView]
    """Views that are not the headline's."""
    repeated: Any
    reliability: Any
    scale: Any
    power: Any
    robustness: Any = None
    """What probes of the judge show; null where nobody looked."""
    detectors: Any = None
    """What labelled sessions say of each flag; null without transcripts."""
    stop_rules: Any = None
    """Where other stop rules would have ended the sessions; null without transcripts."""
    confounds: Any = None
    """What a contrast does not compare alone; null where there is no study file."""
    declared: Any = None
    """Whether the analysis was declared before the first rating; null where nobody knows."""
    claims: Any = None
    """Claims that were published on these scores, each with its verdicts."""
    claims_source: Any = None
    """Who published them; why there is none."""
    table: Any = None
    """The table of ratings that was read, where it was one."""


def analyse(
    scores: Scores | Iterable[ScoreRow],
    settings: Settings | None = None,
    *,
    beside: Mapping[str, Any] | None = None,
    apart: pd.DataFrame | None = None,
) -> Analysis:
    """Everything that the report prints about scores.

    Never fails for lack of data: what cannot be computed says why.

    The inference uses the sessions that count under `settings.unrated`; the judge's replicates are
    averaged. `beside` are sections that are not computed from scores (how the analysis was
    declared, what probes of the judge found, replayed stop rules); they are taken over as they are.
    `apart`: sessions whose items were rated the other way (see `scale`).
    """
    scores = (scores if isinstance(scores, Scores) else Scores.of(scores)).in_order()
    asked = settings or Settings()
    settings = _headline(scores, asked)
    view, judge = settings.view, settings.judge
    items = list(settings.items)
    if not settings.outcomes:
        items = items or scores.items
    sessions = scores.sessions(view, judge)
    arms = describe.arms(sessions, settings)
    settings = settled(describe.levels(arms), settings)
    inferred = _inferred(scores, sessions, arms, items, settings)
    sections = {
        "reliability": reliability(scores.readers(), settings),
        "scale": scale(scores, settings, sessions=sessions, apart=apart),
        "power": power(scores, settings, sessions=sessions),
        **(beside or {}),
    }
    primary = inferred["contrasts"].primary.rows
    said: list[Any] = [
        _other_judge(scores, asked, settings),
        *(part for part in sections.values() if isinstance(part, Mapping | Keyed)),
    ]
    return Analysis(
        schema_version=SCHEMA_VERSION,
        settings=settings,
        view=view,
        judge=judge,
        judges=scores.judges,
        items=[Item(item, settings.titles.get(item, item)) for item in items],
        arms=arms,
        counts=_counts(sessions, arms),
        notices=notices(
            sessions,
            primary,
            inferred["policies"],
            said,
            _once(arms, settings),
            read=scores.judges.get(judge) != RULE,
        ),
        scores=describe.scores(sessions, arms, items),
        distribution=describe.distribution(sessions, arms),
        trajectory=describe.trajectory(sessions, arms),
        flow=flow(sessions, arms),
        flags=flags(sessions, arms),
        views={
            other: _other_view(scores, other, judge, items, settings)
            for other in scores.views
            if other != view
        },
        **{**inferred, **sections},
    )


def _headline(scores: Scores, settings: Settings) -> Settings:
    """The settings with the headline's view and judge: as declared where the scores have them.

    Else the first judge by name, models before people, and the first view that it has.
    """
    judges = sorted(scores.judges, key=lambda name: (scores.judges[name] != "model", name)) or [
        OWN_JUDGE
    ]
    judge = settings.judge if settings.judge in judges else judges[0]
    found = sorted(map(str, scores.ratings.loc[scores.ratings["judge"] == judge, "view"].unique()))
    return replace(
        settings,
        judge=judge,
        view=settings.view if settings.view in found or not found else found[0],
    )


def _other_judge(scores: Scores, asked: Settings, settings: Settings) -> dict[str, Any]:
    """That the headline rests on another judge than the declared one, where several might."""
    if settings.judge == asked.judge or len(scores.judges) < 2:
        return {}
    text = (
        f"No ratings by the declared judge {asked.judge}: the headline rests on those of "
        f"{settings.judge}."
    )
    return {"notices": [{"id": "other_judge", "text": text, "weight": 75}]}


def _inferred(
    scores: Scores,
    sessions: pd.DataFrame,
    arms: Sequence[Mapping[str, Any]],
    items: Sequence[str],
    settings: Settings,
) -> dict[str, Any]:
    """What rests on the totals that count under the declared policy."""
    used = counted(sessions, settings.unrated, len(items), settings)
    levels = describe.levels(arms)
    model = chain_model(used, settings)
    found = families(used, levels, items, model, settings)
    each = outcomes(scores, sessions, levels, settings)
    # Several primary outcomes are one family, of which the headline's contrasts are a part.
    adjusted = [row.p_adjusted for row in each[0].contrasts]
    primary = replace(found.primary, rows=with_p(found.primary.rows, adjusted))
    found = replace(found, primary=primary)
    plain, reduced = published(used, settings)
    return {
        "contrasts": found,
        "outcomes": each,
        "policies": policies(sessions, levels, len(items), settings),
        "tests": omnibus(used, levels),
        "slopes": slopes(used, list(levels), settings),
        "cells": describe.cells(used, arms),
        "models": MixedModels(plain, reduced, model),
        "repeated": of_sessions(used, list(levels), settings.level),
        "covariates": [words(used, model, found.primary.rows, levels, settings)],
        "refitted": refitted(used, levels, model, settings) if settings.thorough else None,
    }


def _once(arms: Sequence[Mapping[str, Any]], settings: Settings) -> list[str]:
    """The arms that were trained with one seed."""
    known = trained(describe.levels(arms), settings)
    return [arm["arm"] for arm in arms if arm["arm"] in known and arm["seeds"] < 2]


def _counts(sessions: pd.DataFrame, arms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    owed = int((sessions["reason"] == OWED).sum())
    return {
        "scheduled": len(sessions),
        "rated": int(sessions["total"].notna().sum()),
        "owed": owed,
        "complete": owed == 0,
        "patients": int(sessions["patient"].nunique()),
        "chains": int(sessions["chain"].nunique()),
        "arms": len(arms),
        "checkpoints": sum(arm["seeds"] for arm in arms),
    }


def _other_view(
    scores: Scores, view: str, judge: str, items: Sequence[str], settings: Settings
) -> OtherView:
    sessions = scores.sessions(view, judge)
    arms = describe.arms(sessions, settings)
    levels = describe.levels(arms)
    used = counted(sessions, settings.unrated, len(items), settings)
    return OtherView(
        describe.scores(sessions, arms, items),
        contrasts(used, pairs_of("primary", levels, settings), levels, settings),
    )
