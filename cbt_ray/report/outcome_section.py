"""The outcomes in section "Effects": what arms are compared in beside the headline."""

from __future__ import annotations

from collections.abc import Sequence

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.contrast import Effect
from cbt_ray.analysis.effect.outcome import OutcomeArm, OutcomeFound
from cbt_ray.analysis.estimate import Estimate
from cbt_ray.report.at import At
from cbt_ray.report.part import Heading, Part
from cbt_ray.report.prose import DASH, MINUS, capital, ends, probability, reasons, text, whole
from cbt_ray.report.table import Column, Table, column, tabulate


def outcomes(analysis: Analysis) -> list[Part]:
    """Nothing where the headline is the only outcome, and a score."""
    found = At(analysis).each(lambda all_: all_.outcomes)
    if len(found) < 2 and analysis.settings.kind == "score":
        return []
    return [Heading("Outcomes"), _declared(found), _arms(found), _contrasts(found)]


def _declared(found: Sequence[At[OutcomeFound]]) -> Table:
    columns: list[Column[OutcomeFound]] = [
        column("Outcome", text, lambda row: row.title),
        column("Rater", text, lambda row: row.rater),
        column("Family", _rank, lambda row: row.primary),
        column("Kind", text, lambda row: row.kind),
        column("Range", ends, lambda row: row.low, lambda row: row.high),
        column("Without a value", reasons, lambda row: row.without, prose=True),
        column("Contrasts in its family", whole, lambda row: row.family),
        column("No contrast", text, lambda row: row.reason, below=True),
    ]
    note = (
        "In the declared order; the first is the headline. Holm goes over the primary contrasts of "
        "all primary outcomes; another outcome is adjusted within itself. A session without a "
        "value is missing and never counts as 0."
    )
    return tabulate(("t-outcomes", "Declared outcomes"), found, columns, note=note)


def _arms(found: Sequence[At[OutcomeFound]]) -> Table:
    rows = [(outcome, arm) for outcome in found for arm in outcome.each(lambda one: one.arms)]
    columns: list[Column[OutcomeArm]] = [
        column("Arm", text, lambda row: row.arm),
        column("Scheduled", whole, lambda row: row.scheduled),
        column("Sessions", whole, lambda row: row.n),
        column("Mean", _number, lambda row: row.mean),
        column("SD", _number, lambda row: row.sd),
        column("Mean of patients", _estimate, lambda row: row.estimate, optional=True),
    ]
    names = [_name(outcome.value) for outcome, _ in rows]
    place = ("t-outcome-arms", "Outcomes in each arm")
    note = ""
    if any(arm.value.estimate for _, arm in rows):
        note = (
            "Flags, shares and counts have intervals that fit them, after Korn and Graubard and "
            "after Garwood, with patients as clusters."
        )
    return tabulate(place, [arm for _, arm in rows], columns, names=names, note=note)


def _contrasts(found: Sequence[At[OutcomeFound]]) -> Table:
    rows = [(outcome, row) for outcome in found for row in outcome.each(lambda one: one.contrasts)]
    columns: list[Column[Effect]] = [
        column("Contrast", text, lambda row: row.label),
        column("Patients", whole, lambda row: row.patients),
        column("Difference", _number, lambda row: row.estimate),
        column("Interval", _interval, lambda row: row.low, lambda row: row.high),
        column("p", probability, lambda row: row.p),
        column("p, Holm", probability, lambda row: row.p_adjusted),
        column("No interval", text, lambda row: row.reason, below=True),
    ]
    names = [_name(outcome.value) for outcome, _ in rows]
    place = ("t-outcome-contrasts", "Primary contrasts in each outcome")
    return tabulate(place, [row for _, row in rows], columns, names=names, empty="No contrast.")


def _estimate(found: Estimate | None) -> str:
    if found is None or found.value is None or found.low is None:
        return (found.reason if found else None) or DASH
    return f"{_number(found.value)} ({_interval(found.low, found.high)})"


def _name(outcome: OutcomeFound) -> str:
    return capital(f"{outcome.title} by {outcome.rater}")


def _rank(primary: bool) -> str:
    return "primary" if primary else "secondary"


def _number(value: float | None) -> str:
    """Three digits that count: outcomes have ranges of their own."""
    return DASH if value is None else f"{value:.3g}".replace("-", MINUS)


def _interval(low: float | None, high: float | None) -> str:
    return DASH if low is None else f"{_number(low)} to {_number(high)}"
