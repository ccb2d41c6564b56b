"""A table of ratings: which column is which field or item, and what stands in each row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.analysis.table.mapped import check_columns
from cbt_ray.analysis.table.mapping import Mapping as Declared
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.errors import InputError
from cbt_ray.imports.ends import TableEnds, table_ends
from cbt_ray.rating.scale import Scale
from cbt_ray.reading.cell import shown
from cbt_ray.reading.table import Table, read_table

FIELDS = (
    "session_key",
    "arm",
    "model",
    "variant",
    "patient",
    "session",
    "replicate",
    "judge",
    "kind",
    "view",
    "judge_replicate",
    "strip",
    "opening_read",
    "source",
)
AMOUNTS = ("total", "justifications", "reasons")
IGNORED = (
    "seed",
    "phase",
    "rated",
    "reason",
    "words",
    "therapist_turns",
    "heard",
    "messages",
    "flags",
    "stop_reason",
)
"""Columns of our own tables of scores that say nothing about the rating."""
MISSING = ("", "NA", "NaN")


MEASURE = "measure_"
"""How the column of a measure begins in a table that cbt-ray wrote."""


@dataclass(frozen=True)
class Row:
    """One row: fields by our names, items by their ids; empty cells are left out."""

    line: int
    fields: Mapping[str, str]
    items: Mapping[str, str]
    problem: str = ""
    """What cannot be read."""


@dataclass(frozen=True)
class RatingTable:
    """A table that was read."""

    path: Path
    sha256: str
    rows: tuple[Row, ...]
    ends: TableEnds
    """Lowest and highest score of an item, here and on the scale."""
    decimal: str
    """The sign before the decimals of a number."""
    notices: tuple[str, ...]


def read_rating_table(path: Path, scale: Scale, mapping: str | None) -> RatingTable:
    """Read a CSV file.

    Raises InputError, one line, where it is no such table or a column is unknown.
    """
    declared = load_mapping(mapping) if mapping else None
    table = declared.read(path) if declared else read_table(path, own=True)
    places = _declared(table, declared) if declared else _by_name(table, scale)
    rows = tuple(_row(table, row, places, declared) for row in range(len(table)))
    decimal = declared.decimal if declared else "."
    return RatingTable(
        path, table.sha256, rows, table_ends(declared, scale), decimal, table.notices
    )


@dataclass(frozen=True)
class _Places:
    """Field -> column, item -> column."""

    fields: Mapping[str, str]
    items: Mapping[str, str]


def _by_name(table: Table, scale: Scale) -> _Places:
    """Columns under our own names; items by id or title.

    An unknown column is refused: it may be an item that is misspelt.
    """
    names = {name: name for name in (*FIELDS, *AMOUNTS)}
    items = {
        _folded(name): item.id
        for item in scale.items
        for name in (item.id, item.title, f"item_{item.id}", f"item:{item.id}")
    }
    fields: dict[str, str] = {}
    found: dict[str, str] = {}
    where = f"{table.name}, line {table.header_line}"
    if table.unnamed:
        raise InputError(
            f"{where}, column {table.unnamed[0]}: expected a name, the column has cells"
        )
    for column in table.columns:
        own = column.strip().casefold().replace(" ", "_")
        taken = fields if own in names else found if _folded(column) in items else None
        extra = own.startswith(("factor_", MEASURE))
        if taken is None and own not in IGNORED and not extra:
            known = ", ".join([*FIELDS, *AMOUNTS, *(item.id for item in scale.items)])
            raise InputError(
                f"{where}: unknown column {shown(column)}, expected one of {known}{table.hint}"
            )
        if taken is not None:
            name = names[own] if taken is fields else items[_folded(column)]
            if name in taken:
                raise InputError(
                    f"{where}: expected {name} once, found {taken[name]!r} and {shown(column)}"
                )
            taken[name] = column
    return _Places(fields, found)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9:]+", " ", name.casefold().replace("behaviour", "behavior")).strip()


def _declared(table: Table, declared: Declared) -> _Places:
    """Columns as a mapping declares them; others are left alone."""
    check_columns(table, declared)
    prefix = declared.item_prefix
    own = (
        {name.removeprefix(prefix): name for name in table.columns if name.startswith(prefix)}
        if prefix
        else {}
    )
    fields = {
        name: column
        for name, column in declared.columns.items()
        if name in FIELDS and column in table.columns
    }
    if declared.total != "sum":
        fields["total"] = declared.total
    return _Places(fields, own or declared.item_columns)


def _row(table: Table, row: int, places: _Places, declared: Declared | None) -> Row:
    """One row; a text is taken character for character."""
    missing = declared.missing if declared else MISSING
    fields = (
        {name: str(value) for name, value in declared.constants.items() if name in FIELDS}
        if declared
        else {}
    )
    fields |= dict(_filled(table, row, places.fields, missing))
    problem = ""
    for part in declared.patterns if declared else ():
        cell = table.columns[part.column][row]
        found = re.fullmatch(part.pattern, cell)
        problem = problem or (
            "" if found else f"column {part.column}: expected {part.pattern}, found {shown(cell)}"
        )
        fields |= {
            name: value
            for name, value in (found.groupdict() if found else {}).items()
            if value is not None
        }
    for name, values in (declared.values if declared else {}).items():
        if name in fields:
            expected = (
                f"{name}: expected one of {', '.join(map(repr, values))}, found "
                f"{shown(fields[name])}"
            )
            problem = problem or ("" if fields[name] in values else expected)
            fields[name] = values.get(fields[name], fields[name])
    return Row(table.lines[row], fields, dict(_filled(table, row, places.items, missing)), problem)


def _filled(
    table: Table, row: int, places: Mapping[str, str], missing: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for name, column in places.items():
        cell = table.columns[column][row]
        if cell not in missing and cell.strip():
            yield name, cell
