"""The analysis as a whole: a pure function from scores and settings to typed sections.

`analysis.json` is made of them, field by field (docs/analysis.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from cbt_ray.analysis import describe
from cbt_ray.analysis.claims.verdict import Claims
from cbt_ray.analysis.declared import Standing
from cbt_ray.analysis.describe import (
    ArmScores,
    CellMean,
    Counts,
    Distribution,
    ScoredArm,
    Trajectory,
)
from cbt_ray.analysis.doubt import doubts
from cbt_ray.analysis.effect.asked import pairs_of, settled, trained
from cbt_ray.analysis.effect.contrast import Effect, contrasts
from cbt_ray.analysis.effect.covariate import Covariate, words
from cbt_ray.analysis.effect.family import Families, Refits, families, refitted
from cbt_ray.analysis.effect.omnibus import Omnibus, omnibus
from cbt_ray.analysis.effect.outcome import OutcomeFound, beside_headline, outcomes, with_p
from cbt_ray.analysis.effect.policy import Policies, counted, policies
from cbt_ray.analysis.effect.power import Power, power
from cbt_ray.analysis.effect.repeated import WithinSubjects, of_sessions
from cbt_ray.analysis.effect.slope import Slopes, slopes
from cbt_ray.analysis.flow import Flagged, Flow, flags, flow
from cbt_ray.analysis.judge.reliability import Reliability, reliability
from cbt_ray.analysis.judge.robustness import Robustness
from cbt_ray.analysis.label.labels import Labels
from cbt_ray.analysis.model.chain_model import ChainModel, chain_model
from cbt_ray.analysis.model.mixed import PublishedModel, published
from cbt_ray.analysis.notice import Notice
from cbt_ray.analysis.scale.scale import ScaleQuality, scale
from cbt_ray.analysis.scores import RULE, ScoreRow, Scores
from cbt_ray.analysis.settings import Settings
from cbt_ray.analysis.table.mapped import ReadTable
from cbt_ray.study.confound import Confound
from cbt_ray.study.imported import OWN_JUDGE
from cbt_ray.therapy.replay import ReplayedRule
from cbt_ray.therapy.validation import Detector

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 4
"""Raised whenever a key changes its meaning or goes away."""


@dataclass(frozen=True)
class TitledItem:
    """An item of the scale, with its readable name."""

    item: str
    title: str


@dataclass(frozen=True)
class MixedModels:
    """The mixed models of all sessions."""

    published: PublishedModel
    reduced: PublishedModel | None
    """Where the published formula cannot be fitted."""
    default: ChainModel


@dataclass(frozen=True)
class OtherView:
    """What the headline's judge says of the same sessions in another view."""

    scores: Sequence[ArmScores]
    contrasts: Sequence[Effect]


@dataclass(frozen=True)
class Analysis:
    """Everything that the report prints about scores: one field a section."""

    schema_version: int
    settings: Settings
    """Everything that a number depends on besides the scores."""
    view: str
    """The view whose ratings make the headline."""
    judge: str
    """Whose ratings make the headline."""
    judges: Mapping[str, str]
    """Judge -> `model`, `human` or `rule`."""
    items: Sequence[TitledItem]
    arms: Sequence[ScoredArm]
    counts: Counts
    notices: Sequence[Notice]
    """What casts doubt, the heaviest first."""
    scores: Sequence[ArmScores]
    distribution: Sequence[Distribution]
    trajectory: Sequence[Trajectory]
    contrasts: Families
    outcomes: Sequence[OutcomeFound]
    """What arms are compared in, in the declared order; the first is the headline."""
    policies: Policies
    tests: Sequence[Omnibus]
    slopes: Slopes
    cells: Sequence[CellMean]
    models: MixedModels
    covariates: Sequence[Covariate]
    refitted: Refits | None
    """Null unless `settings.thorough`."""
    flow: Sequence[Flow]
    flags: Sequence[Flagged]
    views: Mapping[str, OtherView]
    """Views that are not the headline's."""
    repeated: WithinSubjects
    """Conditions compared within subjects: arms in each outcome, unless a table asks otherwise."""
    reliability: Reliability
    scale: ScaleQuality
    power: Power
    robustness: Robustness | None = None
    """What probes of the judge show; null where nobody looked."""
    labels: Labels | None = None
    """What replies named, against the generator; null where no form has a list of labels."""
    detectors: Sequence[Detector] | None = None
    """What labelled sessions say of each flag; null without transcripts."""
    stop_rules: Sequence[ReplayedRule] | None = None
    """Where other stop rules would have ended the sessions; null without transcripts."""
    confounds: Sequence[Confound] | None = None
    """What a contrast does not compare alone; null where there is no study file."""
    declared: Standing | None = None
    """Whether the analysis was declared before the first rating; null where nobody knows."""
    claims: Claims | None = None
    """Claims that were published on these scores; null but for a table that was published."""
    table: ReadTable | None = None
    """The table of ratings that was read, where it was one."""


@dataclass(frozen=True)
class Beside:
    """Sections that are not computed from the totals of sessions; taken over as they are."""

    robustness: Robustness | None = None
    labels: Labels | None = None
    detectors: Sequence[Detector] | None = None
    stop_rules: Sequence[ReplayedRule] | None = None
    confounds: Sequence[Confound] | None = None
    declared: Standing | None = None
    repeated: WithinSubjects | None = None
    """Of other measures than the total."""


class Inferred(TypedDict):
    """The fields of `Analysis` that rest on the totals that count under the declared policy."""

    contrasts: Families
    outcomes: Sequence[OutcomeFound]
    policies: Policies
    tests: Sequence[Omnibus]
    slopes: Slopes
    cells: Sequence[CellMean]
    models: MixedModels
    repeated: WithinSubjects
    covariates: Sequence[Covariate]
    refitted: Refits | None


def analyse(
    scores: Scores | Iterable[ScoreRow],
    settings: Settings | None = None,
    *,
    beside: Beside | None = None,
    apart: pd.DataFrame | None = None,
) -> Analysis:
    """Everything that the report prints about scores.

    Never fails for lack of data: what cannot be computed says why.

    The inference uses the sessions that count under `settings.unrated`; the judge's replicates are
    averaged. `apart`: sessions whose items were rated the other way (see `scale`).
    """
    scores = (scores if isinstance(scores, Scores) else Scores.of(scores)).in_order()
    asked, beside = settings or Settings(), beside or Beside()
    settings = _headline(scores, asked)
    view, judge = settings.view, settings.judge
    items = list(settings.items)
    if not settings.outcomes:
        items = items or scores.items
    sessions = scores.sessions(view, judge)
    arms = describe.arms(sessions, settings)
    settings = settled(describe.levels(arms), settings)
    inferred = _inferred(scores, sessions, arms, items, settings)
    if beside.repeated is not None:
        inferred["repeated"] = beside.repeated
    judged = reliability(scores.readers(), settings)
    scaled = scale(scores, settings, sessions=sessions, apart=apart)
    said = [
        *_other_judge(scores, asked, settings),
        *_no_score(inferred["outcomes"][0]),
        *judged.notices,
        *scaled.notices,
        *(beside.robustness.notices if beside.robustness else []),
        *(beside.labels.notices if beside.labels else []),
        *(beside.declared.notices if beside.declared else []),
    ]
    primary = inferred["contrasts"].primary.rows
    return Analysis(
        schema_version=SCHEMA_VERSION,
        settings=settings,
        view=view,
        judge=judge,
        judges=scores.judges,
        items=[TitledItem(item, settings.titles.get(item, item)) for item in items],
        arms=arms,
        counts=describe.counts(sessions, arms),
        notices=doubts(
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
        reliability=judged,
        scale=scaled,
        power=power(scores, settings, sessions=sessions),
        robustness=beside.robustness,
        labels=beside.labels,
        detectors=beside.detectors,
        stop_rules=beside.stop_rules,
        confounds=beside.confounds,
        declared=beside.declared,
        **inferred,
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


def _other_judge(scores: Scores, asked: Settings, settings: Settings) -> list[Notice]:
    """That the headline rests on another judge than the declared one, where several might."""
    if settings.judge == asked.judge or len(scores.judges) < 2:
        return []
    text = (
        f"No ratings by the declared judge {asked.judge}: the headline rests on those of "
        f"{settings.judge}."
    )
    return [Notice("other_judge", text, 75)]


def _inferred(
    scores: Scores,
    sessions: pd.DataFrame,
    arms: Sequence[ScoredArm],
    items: Sequence[str],
    settings: Settings,
) -> Inferred:
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
        "repeated": of_sessions(
            used,
            list(levels),
            settings.level,
            beside_headline(scores, settings),
            settings.kind,
        ),
        "covariates": [words(used, model, found.primary.rows, levels, settings)],
        "refitted": refitted(used, levels, model, settings) if settings.thorough else None,
    }


def _no_score(headline: OutcomeFound) -> list[Notice]:
    """What treats a headline as a score that is none."""
    text = (
        f"{headline.title} is a {headline.kind} and no score: contrasts and arms have intervals "
        "that fit it; omnibus tests, slopes, ranks, power and mixed models treat it as a score."
    )
    return [] if headline.kind == "score" else [Notice("no_score", text, 20)]


def _once(arms: Sequence[ScoredArm], settings: Settings) -> list[str]:
    """The arms that were trained with one seed."""
    known = trained(describe.levels(arms), settings)
    return [arm.arm for arm in arms if arm.arm in known and arm.seeds < 2]


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
