"""What was scored: tables per arm and item, distributions, cells, trajectories.

Descriptions, no inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cbt_ray.analysis.scores import FACTOR, ITEM, OWED
from cbt_ray.analysis.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Summary:
    """Values in six numbers; null where there are too few."""

    n: int
    mean: float | None = None
    sd: float | None = None
    """Of a sample: over n - 1."""
    min: float | None = None
    max: float | None = None
    median: float | None = None


@dataclass(frozen=True)
class ScoredArm:
    """An arm that sessions were scheduled for."""

    arm: str
    factors: Mapping[str, str]
    """Factor -> level."""
    seeds: int
    """Number of training seeds."""


@dataclass(frozen=True)
class Counts:
    """The size of the study."""

    scheduled: int
    rated: int
    owed: int
    complete: bool
    patients: int
    chains: int
    arms: int
    checkpoints: int
    """Arms times their training seeds."""


@dataclass(frozen=True)
class ArmScores(ScoredArm):
    """What an arm scored."""

    scheduled: int
    rated: int
    total: Summary
    items: Mapping[str, Summary]


@dataclass(frozen=True)
class Distribution:
    """How often each total of an arm, rounded to a whole number, occurred."""

    arm: str
    counts: Sequence[tuple[int, int]]
    """(total, sessions)."""


@dataclass(frozen=True)
class SessionMean(Summary):
    """The totals of an arm at one session number."""

    session: int = field(kw_only=True)


@dataclass(frozen=True)
class Trajectory:
    """An arm's totals over its session numbers."""

    arm: str
    points: Sequence[SessionMean]


@dataclass(frozen=True)
class CellMean:
    """An arm and a patient: the mean of the chains' means."""

    arm: str
    patient: str
    mean: float
    sessions: Sequence[int]
    """How many each chain rests on."""


def summary(values: pd.Series[float]) -> Summary:
    """Count, mean, sample SD, extremes and median."""
    known = values.dropna()
    if not len(known):
        return Summary(0)
    return Summary(
        n=len(known),
        mean=float(known.mean()),
        sd=float(known.std(ddof=1)) if len(known) > 1 else None,
        min=float(known.min()),
        max=float(known.max()),
        median=float(known.median()),
    )


def number(value: float | None) -> float | None:
    """A finite number, else null: JSON has no NaN."""
    return float(value) if value is not None and math.isfinite(value) else None


def arms(table: pd.DataFrame, settings: Settings) -> list[ScoredArm]:
    """The arms with their factor levels and their number of training seeds: in the declared order,
    others by name after them.
    """
    factors = [name for name in table.columns if name.startswith(FACTOR)]
    rows = table[["arm", *factors]].drop_duplicates("arm").to_dict("records")
    found = {str(row["arm"]): row for row in rows}
    seeds = table.groupby("arm", observed=True)["seed"].nunique()
    order = [arm for arm in settings.arms if arm in found] + sorted(
        arm for arm in found if arm not in settings.arms
    )
    known = {
        arm: {name.removeprefix(FACTOR): str(row[name]) for name in factors if str(row[name])}
        for arm, row in found.items()
    }
    return [ScoredArm(arm, known[arm], int(seeds[arm])) for arm in order]


def levels(arm_list: Sequence[ScoredArm]) -> dict[str, dict[str, str]]:
    """Arm -> factor -> level, in the order of the arms."""
    return {arm.arm: dict(arm.factors) for arm in arm_list}


def counts(sessions: pd.DataFrame, arm_list: Sequence[ScoredArm]) -> Counts:
    """How much there is."""
    owed = int((sessions["reason"] == OWED).sum())
    return Counts(
        scheduled=len(sessions),
        rated=int(sessions["total"].notna().sum()),
        owed=owed,
        complete=owed == 0,
        patients=int(sessions["patient"].nunique()),
        chains=int(sessions["chain"].nunique()),
        arms=len(arm_list),
        checkpoints=sum(arm.seeds for arm in arm_list),
    )


def scores(
    sessions: pd.DataFrame, arm_list: Sequence[ScoredArm], items: Sequence[str]
) -> list[ArmScores]:
    """Per arm: how many scheduled and rated, the total and every item."""
    table = []
    for arm in arm_list:
        own = sessions[sessions["arm"] == arm.arm]
        table.append(
            ArmScores(
                arm.arm,
                arm.factors,
                arm.seeds,
                scheduled=len(own),
                rated=int(own["total"].notna().sum()),
                total=summary(own["total"]),
                items={item: summary(own[ITEM + item]) for item in items if ITEM + item in own},
            )
        )
    return table


def distribution(sessions: pd.DataFrame, arm_list: Sequence[ScoredArm]) -> list[Distribution]:
    """Per arm: how often each total (rounded to a whole number) occurred."""
    table = []
    for arm in arm_list:
        totals = sessions.loc[sessions["arm"] == arm.arm, "total"].dropna().round().astype(int)
        found = totals.value_counts().sort_index()
        pairs = zip(found.index.tolist(), found.tolist(), strict=True)
        table.append(Distribution(arm.arm, [(int(value), int(count)) for value, count in pairs]))
    return table


def cells(sessions: pd.DataFrame, arm_list: Sequence[ScoredArm]) -> list[CellMean]:
    """Per arm and patient: the mean of the chains' means, and how many sessions each chain rests
    on.
    """
    rated = sessions[sessions["total"].notna()]
    chains = (
        rated.groupby(["arm", "patient", "chain"], observed=True, sort=True)["total"]
        .agg(["mean", "size"])
        .reset_index()
    )
    found: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for arm, patient, _, mean, size in chains.itertuples(index=False):
        found.setdefault((str(arm), str(patient)), []).append((float(mean), int(size)))
    order = {arm.arm: place for place, arm in enumerate(arm_list)}
    return [
        CellMean(arm, patient, sum(mean for mean, _ in own) / len(own), [size for _, size in own])
        for (arm, patient), own in sorted(found.items(), key=lambda pair: order[pair[0][0]])
    ]


def trajectory(sessions: pd.DataFrame, arm_list: Sequence[ScoredArm]) -> list[Trajectory]:
    """Per arm: the mean total at each session number."""
    table = []
    for arm in arm_list:
        own = sessions[(sessions["arm"] == arm.arm) & sessions["total"].notna()]
        points = [
            SessionMean(**vars(summary(totals)), session=int(str(session)))
            for session, totals in own.groupby("session")["total"]
        ]
        table.append(Trajectory(arm.arm, points))
    return table
