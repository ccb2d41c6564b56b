"""Section `power`: which difference of two arms this design could find, and how to spend
the next study's sessions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.describe import arms, levels
from cbt_ray.analysis.effect.asked import Arms, pairs_of
from cbt_ray.analysis.effect.design import (
    Design,
    NextStudy,
    SmallestDifference,
    Variances,
    grid,
    smallest_rows,
)
from cbt_ray.analysis.effect.layout import Chains, layout
from cbt_ray.analysis.effect.policy import counted
from cbt_ray.analysis.scores import ITEM, Scores
from cbt_ray.count import many

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cbt_ray.analysis.settings import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

NOTE = (
    "Assumes that the next study's chains and sessions vary as these do (the mean over arms), and "
    "that sessions of a chain vary independently around its mean. A chain of fewer sessions covers "
    "fewer phases."
)
SEVERAL = (
    "With several chains per patient and arm, what differs between them is not counted as "
    "averaged out."
)
SEEDS = "Training seeds are averaged: the sizes are about these checkpoints."


@dataclass(frozen=True)
class Power:
    """Which difference this design could find, and how to spend the next study's sessions."""

    level: float
    family: int
    """Primary contrasts, over which Holm adjusts."""
    note: str
    """What is assumed."""
    reason: str | None = None
    """Why nothing was computed."""
    variances: Variances | None = None
    design: Design | None = None
    smallest: Sequence[SmallestDifference] = ()
    next: Sequence[NextStudy] = ()


def power(scores: Scores, settings: Settings, *, sessions: pd.DataFrame | None = None) -> Power:
    """The section, from the variances that the scores show.

    `sessions`: `scores.sessions(view, judge)`, if already there.
    """
    table = scores.sessions(settings.view, settings.judge) if sessions is None else sessions
    items = [item for item in list(settings.items) or scores.items if ITEM + item in table]
    used = counted(table, settings.unrated, len(items), settings)
    found_arms = levels(arms(table, settings))
    family = len(pairs_of("primary", found_arms, settings)) * settings.primary_outcomes
    estimated = components(used, found_arms)
    if isinstance(estimated, str):
        return Power(settings.level, family, NOTE, estimated)
    variances, design = estimated[0], replace(estimated[1], family=family)
    found = Power(
        settings.level,
        family,
        _note(design, seeds=table["seed"].nunique()),
        variances=variances,
        design=design,
    )
    if not family:
        return replace(found, reason="no primary contrast")
    return replace(
        found,
        smallest=smallest_rows(design, variances, settings.level),
        next=grid(design, variances, settings.level),
    )


def _note(design: Design, *, seeds: int) -> str:
    """What these sizes assume."""
    several = f" {SEVERAL}" if design.chains > 1 else ""
    return NOTE + several + (f" {SEEDS}" if seeds > 1 else "")


def _too_few(present: Array) -> str:
    """Why nothing says how differences vary between patients.

    (arms, patients) that have rated sessions.
    """
    arms, patients = (int(present.any(axis=axis).sum()) for axis in (1, 0))
    if min(arms, patients) < 2:
        return f"needs 2 arms and 2 patients with rated sessions, found {arms} and {patients}"
    return (
        "no two arms share two patients with rated sessions, so nothing says how differences "
        "vary between patients"
    )


def components(used: pd.DataFrame, of: Arms) -> tuple[Variances, Design] | str:
    """Variances by moments on chain means, and the design that was rated; or why there are none."""
    of_chains = Chains(used).means(used["total"])
    cells = layout(of_chains, list(of))
    if not len(of_chains.mean):
        return "no rated session"
    if cells.df < 1:
        return _too_few(cells.present)
    between = float(cells.mean_square(cells.means))
    if between <= 0 or not math.isfinite(between):
        return "needs differences that vary between patients, found none"
    chain = max(0.0, between - cells.within * float(cells.share[cells.present].mean()))
    counts = of_chains.count
    sessions = max(1, round(len(counts) / float((1 / counts).sum())))
    chains = max(1, round(len(counts) / int(cells.present.sum())))
    source = (
        f"moments of these scores: {many(int(counts.sum()), 'session')}, "
        f"{many(len(counts), 'chain')}"
    )
    return Variances(chain, cells.within, source, cells.df), Design(
        len(of), 0, len(cells.patients), chains, sessions
    )
