"""The analysis as a whole: a pure function from score rows and settings to one JSON document with stable keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis import contrast, describe
from cbt_ray.analysis.flow import flags, flow
from cbt_ray.analysis.mixed import mixed
from cbt_ray.analysis.notice import notices
from cbt_ray.analysis.policy import counted, policies
from cbt_ray.analysis.scores import OWED, ScoreRow, SessionScore, average, item_names, views
from cbt_ray.analysis.settings import Settings

SCHEMA_VERSION = 1
"""Raised whenever a key changes its meaning or goes away."""


def analyse(rows: Sequence[ScoreRow], settings: Settings | None = None) -> dict[str, Any]:
    """Everything that the report prints about scores. Never fails for lack of data: what cannot be computed says why.

    The contrasts and the mixed model use the sessions that count under `settings.unrated`; the judge's replicates are averaged.
    """
    settings = settings or Settings()
    found = views(rows)
    view = settings.view if settings.view in found or not found else found[0]
    items = item_names(rows, settings.items)
    own = [row for row in rows if row.view == view]
    sessions = average(own)
    arm_list = describe.arms(sessions, settings)
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": settings.to_json(),
        "view": view,
        "items": [{"item": item, "title": settings.titles.get(item, item)} for item in items],
        "arms": arm_list,
        "counts": _counts(sessions, arm_list),
        **_scored(sessions, arm_list, items, settings),
        "ceiling": describe.ceiling(own, items, settings),
        "flow": flow(sessions, arm_list),
        "flags": flags(sessions, arm_list),
        "judge": describe.judge(sessions),
        "views": {other: _other_view(rows, other, items, settings) for other in found if other != view},
    }


def _scored(sessions: list[SessionScore], arm_list: list[dict[str, str]], items: list[str], settings: Settings) -> dict[str, Any]:
    """What depends on the totals."""
    used = counted(sessions, settings.unrated, len(items), settings)
    by_policy = policies(sessions, arm_list, len(items), settings)
    primary = by_policy[settings.unrated]
    return {
        "notices": notices(sessions, primary),
        "scores": describe.scores(sessions, arm_list, items),
        "contrasts": {
            "family": "primary",
            "question": f"{settings.treatment} - {settings.control}, per model",
            "adjust": "holm",
            "policy": settings.unrated,
            "reason": None if primary else f"no model has both a {settings.treatment} and an {settings.control} arm",
            "rows": primary,
        },
        "policies": by_policy,
        "cells": contrast.means(contrast.cells(used), [arm["arm"] for arm in arm_list]),
        "mixed": mixed(used, settings),
        "distribution": describe.distribution(sessions, arm_list),
        "trajectory": describe.trajectory(sessions, arm_list),
    }


def _counts(sessions: list[SessionScore], arm_list: list[dict[str, str]]) -> dict[str, Any]:
    owed = sum(score.reason == OWED for score in sessions)
    return {
        "scheduled": len(sessions),
        "rated": sum(score.total is not None for score in sessions),
        "owed": owed,
        "complete": owed == 0,
        "patients": len({score.row.patient for score in sessions}),
        "chains": len({score.chain for score in sessions}),
        "arms": len(arm_list),
        "models": len({arm["model"] for arm in arm_list}),
    }


def _other_view(rows: Sequence[ScoreRow], view: str, items: list[str], settings: Settings) -> dict[str, Any]:
    """Scores and contrasts of a view that is not the headline's."""
    sessions = average([row for row in rows if row.view == view])
    arm_list = describe.arms(sessions, settings)
    used = counted(sessions, settings.unrated, len(items), settings)
    return {
        "scores": describe.scores(sessions, arm_list, items),
        "contrasts": contrast.contrasts(used, arm_list, settings),
    }
