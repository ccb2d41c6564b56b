"""Sections "Items" and "Scores": what was scored, described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.describe import ArmScores, CellMean
from cbt_ray.report import item_figures, score_figures
from cbt_ray.report.at import At
from cbt_ray.report.figure import repeats
from cbt_ray.report.part import Fold, Part, Section
from cbt_ray.report.prose import capital, interval_of, one, probability, text, two, whole
from cbt_ray.report.table import Column, Table, column, table, tabulate


def items(analysis: Analysis) -> Section:
    """Effects and means of every item."""
    parts: list[Part] = [
        item_figures.effect_map(analysis),
        item_figures.heat_map(analysis),
        item_figures.radar(analysis),
    ]
    return Section("items", "Items", parts)


def scores(analysis: Analysis) -> Section:
    """Totals per arm, their distribution and their course."""
    parts: list[Part] = [
        _totals(analysis),
        score_figures.distribution(analysis),
        score_figures.trajectory(analysis),
        _slopes(analysis, "all", "Slope of the total over sessions"),
        _slopes(analysis, "without_first", "The same without the first session"),
        Fold("Means per arm and patient", [_cells(analysis)]),
    ]
    return Section("scores", "Scores", parts)


def _totals(analysis: Analysis) -> Table:
    columns: list[Column[ArmScores]] = [
        column("Arm", str, lambda row: row.arm),
        column("Scheduled", whole, lambda row: row.scheduled),
        column("Rated", whole, lambda row: row.rated),
        column("Mean", two, lambda row: row.total.mean),
        column("SD", two, lambda row: row.total.sd),
        column("Median", one, lambda row: row.total.median),
        column("Min", one, lambda row: row.total.min),
        column("Max", one, lambda row: row.total.max),
    ]
    return tabulate(
        ("t-scores", "Totals per arm"),
        At(analysis).each(lambda found: found.scores),
        columns,
        note=f"{'Judge replicates are averaged; ' if repeats(analysis) else ''}SD over sessions.",
        empty="No arm.",
    )


def _slopes(analysis: Analysis, name: str, title: str) -> Table:
    columns: list[Column[Any]] = [
        Column("Arm", "arm"),
        Column("Points per session", "slope", two),
        Column("Interval", ("low", "high"), lambda low, high: interval_of(low, high, 2)),
        Column("SE", "se", two),
        Column("t", "t", two),
        Column("df", "df", text),
        Column("p", "p", probability),
        Column("Why there is none", "reason", capital, below=True),
    ]
    note = (
        "A slope per chain, averaged over patients, who are the error term. No family: descriptive."
    )
    return table(
        analysis,
        (f"t-slopes-{name.replace('_', '-')}", title),
        f"/slopes/{name}",
        columns,
        note=note,
        empty="No slope.",
    )


def _cells(analysis: Analysis) -> Table:
    columns: list[Column[CellMean]] = [
        column("Arm", str, lambda row: row.arm),
        column("Patient", str, lambda row: row.patient),
        column("Mean", two, lambda row: row.mean),
        column("Sessions per chain", _sizes, lambda row: row.sessions),
    ]
    return tabulate(
        ("t-cells", "Means per arm and patient"),
        At(analysis).each(lambda found: found.cells),
        columns,
        note="The observations of the contrasts: means of the chains' means.",
        empty="No rated session.",
    )


def _sizes(sessions: Sequence[int]) -> str:
    return ", ".join(map(str, sessions))
