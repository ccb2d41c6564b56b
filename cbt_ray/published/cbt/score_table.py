"""The published score tables: `id,[patient_id,]group,<eleven items>,[justifications]`, a row a
session.

The same rows stand in several of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.published.remark import Remark
from cbt_ray.reading import loads
from cbt_ray.reading.cell import UNFIT, number_of
from cbt_ray.reading.table import TableFault, read_table

ITEMS = (
    "Agenda",
    "Feedback",
    "Understanding",
    "Interpersonal Effectiveness",
    "Collaboration",
    "Pacing and Efficient Use of Time",
    "Guided Discovery",
    "Focusing on Key Cognitions or Behaviors",
    "Strategy for Change",
    "Application of Cognitive-Behavioral Techniques",
    "Homework",
)
LOWEST, HIGHEST = 1, 10
FACTS = ("id", "group", "patient_id", "justifications")
_FAILED = ("rating failed after multiple retries", "evaluation failed after multiple retries")
"""How the public code justifies the lowest score where its judge gave none."""
AS_LOWEST = "no_answer_published_as_lowest"


@dataclass(frozen=True)
class PublishedRating:
    """One row."""

    group: str
    session: str
    """Its session's file name without `session_` and ending."""
    patient: str | None
    scores: Mapping[str, str]
    """Title of an item -> cell."""
    justifications: Mapping[str, str]
    file: str
    line: int


def read_tables(
    tables: Iterable[Path], root: Path
) -> tuple[dict[tuple[str, str], PublishedRating], list[Remark]]:
    """All rows by group and session id.

    Rows that stand in several tables count once; the first of two that differ counts.
    """
    found: dict[tuple[str, str], PublishedRating] = {}
    remarks: list[Remark] = []
    for table in tables:
        path = str(table.relative_to(root)) if table.is_relative_to(root) else str(table)
        for row in _rows(table, path, remarks):
            known = found.setdefault((row.group, row.session), row)
            if dict(known.scores) != dict(row.scores):
                same = f"{known.file}:{known.line}"
                remarks.append(
                    Remark(
                        row.file,
                        row.line,
                        f"other scores than in {same} for the same session, which count",
                        lost=True,
                    )
                )
            elif len(row.justifications) > len(known.justifications) or (
                row.patient and not known.patient
            ):
                found[row.group, row.session] = _joined(known, row)
    return found, remarks


def scores_of(row: PublishedRating, remarks: list[Remark]) -> tuple[dict[str, str], dict[str, str]]:
    """The row's scores by item, empty where there is none, and what is the matter with any."""
    scores, reasons = {}, {}
    for title in ITEMS:
        cell, said = row.scores.get(title, ""), row.justifications.get(title, "")
        value = number_of(cell)
        fits = value in range(LOWEST, HIGHEST + 1)
        scores[title] = cell if fits else ""
        if cell and not fits:
            reasons[title] = "out_of_scale"
        elif fits and said.casefold().startswith(_FAILED):
            reasons[title] = AS_LOWEST
        if not fits and title in row.scores:
            expected = f"expected a whole number from {LOWEST} to {HIGHEST}, found {cell!r}"
            remarks.append(Remark(row.file, row.line, f"{title}: {expected}"))
    return scores, reasons


def _joined(known: PublishedRating, row: PublishedRating) -> PublishedRating:
    more = row if len(row.justifications) > len(known.justifications) else known
    return PublishedRating(
        known.group,
        known.session,
        known.patient or row.patient,
        known.scores,
        more.justifications,
        known.file,
        known.line,
    )


def _rows(file: Path, path: str, remarks: list[Remark]) -> Iterable[PublishedRating]:
    try:
        table = read_table(file, path)
    except TableFault as fault:
        remarks.append(Remark(path, fault.line, fault.reason, lost=True))
        return
    except InputError as error:
        remarks.append(Remark(path, 0, str(error).removeprefix(f"{path}: "), lost=True))
        return
    if not {"id", "group"} <= set(table.columns):
        remarks.append(
            Remark(
                path, table.header_line, "expected a table with the columns id and group", lost=True
            )
        )
        return
    remarks += [Remark(path, 0, notice) for notice in table.notices]
    for row, line in enumerate(table.lines):
        yield _row({name: cells[row] for name, cells in table.columns.items()}, path, line, remarks)


def _row(row: Mapping[str, str], path: str, line: int, remarks: list[Remark]) -> PublishedRating:
    scores = {name: cell.strip() for name, cell in row.items() if name not in FACTS}
    said: Any = {}
    try:
        said = loads(row.get("justifications") or "{}")
    except ValueError:
        remarks.append(
            Remark(
                path, line, "justifications: expected JSON; the scores are imported without them"
            )
        )
    texts = {name: str(text) for name, text in said.items()} if isinstance(said, dict) else {}
    if UNFIT.search("".join((*texts, *texts.values()))):
        remarks.append(
            Remark(
                path,
                line,
                "justifications: NUL or half a surrogate pair; the scores are imported without "
                "them",
            )
        )
        texts = {}
    return PublishedRating(
        row["group"], row["id"], row.get("patient_id") or None, scores, texts, path, line
    )
