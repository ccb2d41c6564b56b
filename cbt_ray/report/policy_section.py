"""Of the section "Effects": the primary contrasts with sessions counted in other ways, with the
number of words held fixed, and with the model refitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.effect.covariate import WordsHeld
from cbt_ray.analysis.effect.family import Refit
from cbt_ray.analysis.effect.policy import Bounds, Policies, PolicyEffect
from cbt_ray.report.at import At
from cbt_ray.report.figure import decimals
from cbt_ray.report.part import Part, Text
from cbt_ray.report.prose import (
    capital,
    counted,
    interval_of,
    percent,
    probability,
    signed,
    text,
    three,
    two,
    whole,
)
from cbt_ray.report.table import Cell, Column, Row, Table, column, shown, tabulate

B = TypeVar("B", bound=Bounds)


@dataclass(frozen=True)
class Way:
    """A way to count sessions, and how many it treats otherwise."""

    title: str
    rows: Callable[[Policies], Sequence[PolicyEffect]]
    counted: str = ""
    count: Callable[[PolicyEffect], int] | None = None


HEARD = Way("Therapist heard", lambda it: it.heard, "Left out", lambda row: row.left_out)
WAYS = (
    Way("Missing", lambda it: it.missing),
    Way("Lowest total", lambda it: it.lowest, "Given the lowest", lambda row: row.filled),
    Way("Without flagged", lambda it: it.unflagged),
    HEARD,
)


def parts(analysis: At[Analysis]) -> list[Part]:
    """The tables, each with what is to be said of it."""
    return [*_policies(analysis), _words(analysis), *_refits(analysis)]


def post_hoc(analysis: Analysis, part: str) -> str:
    """Marks numbers that rest on what was declared after the first rating, or never."""
    late = analysis.declared.post_hoc if analysis.declared else []
    return "Post hoc. " if "everything" in late or part in late else ""


def _policies(analysis: At[Analysis]) -> list[Part]:
    """Only what differs from another way to count is explained, and only columns that are there."""
    found, title = analysis.of(lambda it: it.policies), "The primary contrasts under each policy"
    if not found.value.missing:
        return [Table("t-policies", title, empty="No contrast.")]
    silent, digits = any(row.left_out for row in found.value.heard), decimals(analysis.value)
    ways = [way for way in WAYS if silent or way is not HEARD]
    counted = zip(*(found.each(way.rows) for way in ways), strict=True)
    bounds, lee = found.each(lambda it: it.bounds), found.each(lambda it: it.lee)
    rows = [
        Row(
            [
                *_cells(row, ways, digits),
                _ends(any_score, digits),
                _ends(trimmed, digits),
                shown(percent, trimmed.of(lambda row: row.share)),
            ],
            _withheld(row, ways),
        )
        for row, any_score, trimmed in zip(counted, bounds, lee, strict=True)
    ]
    names = [name for way in ways for name in (way.title, way.counted) if name]
    names = ["Contrast", *names, "Bounds, any score", "Bounds after Lee", "Trimmed by Lee"]
    late = post_hoc(analysis.value, "policies")
    note = f"{late}The headline is {found.value.headline}; differences with intervals."
    head = [(name, False) for name in names]
    return [Text(_said(found.value)), Table("t-policies", title, head, rows, note)]


def _cells(row: Sequence[At[PolicyEffect]], ways: Sequence[Way], digits: int) -> list[Cell]:
    """Of one contrast: its name, then each way's difference and how many sessions it counts
    otherwise.
    """
    cells = [shown(str, row[0].of(lambda it: it.label))]
    for one_of, way in zip(row, ways, strict=True):
        ends = (one_of.of(lambda it: it.low), one_of.of(lambda it: it.high))
        said = partial(_difference, digits=digits)
        cells.append(shown(said, one_of.of(lambda it: it.estimate), *ends))
        if way.count:
            cells.append(shown(whole, one_of.of(way.count)))
    return cells


def _difference(
    estimate: float | None, low: float | None, high: float | None, *, digits: int
) -> str:
    if estimate is None:
        return "no estimate"
    ends = "no interval" if low is None else interval_of(low, high, digits)
    return f"{signed(estimate, digits)} ({ends})"


def _ends(row: At[B], digits: int) -> Cell:
    ends = (row.of(lambda it: it.low), row.of(lambda it: it.high))
    return shown(partial(_bounds, digits=digits), *ends, row.of(lambda it: it.reason))


def _bounds(low: float | None, high: float | None, reason: str | None, *, digits: int) -> str:
    if low is None:
        return text(reason)
    return f"{signed(low, digits)} to {signed(high, digits)}"


def _withheld(row: Sequence[At[PolicyEffect]], ways: Sequence[Way]) -> Cell | None:
    """Why there are no intervals, way by way."""
    reasons = [one_of.of(lambda it: it.reason) for one_of in row]
    why = [(way.title, reason) for way, reason in zip(ways, reasons, strict=True) if reason.value]
    said = " ".join(f"{title}: {str(reason.value).rstrip('.')}." for title, reason in why)
    return Cell(said, tuple(reason.pointer for _, reason in why)) if why else None


def _said(found: Policies) -> str:
    said = [f"The headline counts unrated sessions as {found.headline}."]
    if any(row.filled for row in found.lowest):
        said.append(
            "Under lowest, a session that the chain lost (rejected, not reached, nothing to rate) "
            "gets the lowest total; a "
            "failure of the judge stays missing, and so does a session that the data do not hold."
        )
    else:
        said.append("No session was lost by its chain, so lowest says what missing says.")
    said.append(
        "Bounds say what any scores of the unrated sessions could make of the contrast; those "
        "after Lee hold for sessions that "
        "either arm would have left rated."
    )
    if any(row.left_out for row in found.unflagged):
        said.append(
            "Leaving out flagged sessions is a sensitivity analysis and no headline, since a flag "
            "is an outcome."
        )
    if any(row.left_out for row in found.heard):
        said.append(
            "Therapist heard: as the headline, without ratings of a text that holds no word of the "
            "therapist; they rate nobody."
        )
    return " ".join(said)


def _words(analysis: At[Analysis]) -> Table:
    (found,) = analysis.each(lambda it: it.covariates)
    row, place = found.value, ("t-words", "The number of words, which is not causal")
    note = (
        "A session's length comes after the arm: holding it fixed takes away part of what the arm "
        "does. The rows say how much of "
        "a contrast goes along with length, no more."
    )
    if row.reason:
        return Table(*place, note=note, empty=f"{capital(row.reason)}.")
    slope = (
        f"{signed(row.estimate)} points (SE {two(row.se)}) per standard deviation of "
        f"{counted(row.sd_words, 'word')}. "
    )
    columns: list[Column[WordsHeld]] = [
        column("Contrast", str, lambda row: row.label),
        column("REML", signed, lambda row: row.reml),
        column("With words held fixed", signed, lambda row: row.words_held_fixed),
    ]
    rows = found.each(lambda it: it.contrasts)
    return tabulate(place, rows, columns, note=slope + note, empty="No contrast.")


def _refits(analysis: At[Analysis]) -> list[Part]:
    found = analysis.value.refitted
    if found is None:
        return []
    columns: list[Column[Refit]] = [
        column("Contrast", str, lambda row: row.label),
        column("REML", signed, lambda row: row.estimate),
        column("SE", two, lambda row: row.se),
        column("Interval", interval_of, lambda row: row.low, lambda row: row.high),
        column("p", probability, lambda row: row.p),
        column("Error of p", three, lambda row: row.p_error),
        column("Error of an end", two, lambda row: row.end_error),
    ]
    note = (
        f"The chain model refitted to each of {found.draws} simulated data sets without an effect. "
        "Errors: what other draws would make of these digits (a standard error)."
    )
    rows = analysis.each(lambda it: it.refitted.rows if it.refitted else [])
    place, empty = ("t-refitted", "Refitting bootstrap"), f"{capital(found.reason)}."
    return [tabulate(place, rows, columns, note=note, empty=empty)]
