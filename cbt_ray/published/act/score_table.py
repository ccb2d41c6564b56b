"""The published table of scores, held against what its judge wrote, which the public code may have
misread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.published.act.judged import FORMS, Form, Judged
from cbt_ray.published.remark import Remark
from cbt_ray.reading.cell import number_of
from cbt_ray.reading.table import Table, TableFault, read_table

SESSION, VARIANT = "session_id", "model_type"


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    file: str
    line: int
    scores: Mapping[str, str]
    """Item -> cell."""


def read_rows(file: Path, root: Path) -> tuple[dict[tuple[str, int], Row], list[Remark]]:
    """The rows by variant's folder and session."""
    path = str(file.relative_to(root)) if file.is_relative_to(root) else file.name
    try:
        table = read_table(file, path)
    except TableFault as fault:
        return {}, [Remark(path, fault.line, fault.reason, lost=True)]
    except InputError as error:
        return {}, [Remark(path, 0, str(error).removeprefix(f"{path}: "), lost=True)]
    lacking = [name for name in _columns() if name not in table.columns]
    if lacking:
        said = f"expected a table with the column {lacking[0]}"
        return {}, [Remark(path, table.header_line, said, lost=True)]
    return dict(_rows(table, path)), [Remark(path, 0, notice) for notice in table.notices]


def _columns() -> Iterator[str]:
    yield from (SESSION, VARIANT)
    for form in FORMS:
        yield from (f"{form.column}_item_{number}" for number in range(1, form.items + 1))


def _rows(table: Table, path: str) -> Iterator[tuple[tuple[str, int], Row]]:
    for place, line in enumerate(table.lines):
        session = number_of(table.columns[SESSION][place])
        if session is None or session != int(session):
            continue
        cells = {
            form.item(number): table.columns[f"{form.column}_item_{number}"][place]
            for form in FORMS
            for number in range(1, form.items + 1)
        }
        yield (table.columns[VARIANT][place], int(session)), Row(path, line, cells)


def difference(row: Row, judged: Judged) -> Remark | None:
    """What the table has otherwise than the judge's text, which counts; None where they agree."""
    said = [
        f"{form.scale} {_mean(row.scores, form)} here, {_mean(judged.scores, form)} in the judge's "
        f"text, {judged.file}:{judged.begins.get(form.scale, judged.line)}"
        for form in FORMS
        if any(_number(row, name) != judged.scores.get(name) for name in _names(form))
    ]
    return (
        Remark(row.file, row.line, f"mean of {' and '.join(said)}, which counts") if said else None
    )


def _names(form: Form) -> list[str]:
    return [form.item(number) for number in range(1, form.items + 1)]


def _number(row: Row, name: str) -> float | None:
    return number_of(row.scores[name])


def _mean(scores: Mapping[str, str] | Mapping[str, int], form: Form) -> str:
    found = [number_of(str(scores[name])) for name in _names(form) if name in scores]
    known = [number for number in found if number is not None]
    return f"{sum(known) / len(known):.3f}" if known else "none"
