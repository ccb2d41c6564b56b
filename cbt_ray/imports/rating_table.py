"""A table of ratings: which column is which field or item, and what stands in each row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.analysis.table.mapping import Mapping as Declared
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.errors import InputError
from cbt_ray.imports.remark import Remark
from cbt_ray.imports.repository import read_source
from cbt_ray.rating.scale import Scale

FIELDS = ("session_key", "arm", "model", "variant", "patient", "session", "replicate", "judge", "kind", "view", "judge_replicate")
AMOUNTS = ("total", "justifications")
IGNORED = ("phase", "rated", "reason", "words", "therapist_turns", "heard", "messages", "flags", "stop_reason")
"""Columns of our own tables of scores that say nothing about the rating."""
MISSING = ("", "NA", "NaN")
LONGEST_CELL = 10_000_000


@dataclass(frozen=True)
class Row:
    """One row: fields by our names, items by their ids; empty cells are left out."""

    line: int
    fields: Mapping[str, str]
    items: Mapping[str, str]


@dataclass(frozen=True)
class RatingTable:
    """A table that was read."""

    path: Path
    sha256: str
    rows: tuple[Row, ...]


def read_rating_table(path: Path, scale: Scale, mapping: str | None) -> RatingTable:
    """Read a CSV file. Raises InputError, one line, where it is no such table or a column is unknown."""
    declared = load_mapping(mapping) if mapping else None
    if not path.is_file():
        raise InputError(f"{path}: expected a CSV file, there is none")
    source = read_source(path, str(path))
    if isinstance(source, Remark):
        raise InputError(f"{path}{f', line {source.line}' if source.line else ''}: {source.reason}")
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    separator = declared.separator if declared else ","
    reader = csv.DictReader(io.StringIO(source.text.removeprefix("\ufeff"), newline=""), delimiter=separator)
    header = [name or "" for name in reader.fieldnames or ()]
    places = _declared(path, header, declared) if declared else _by_name(path, header, scale)
    try:
        rows = tuple(_row(reader.line_num, row, places, declared) for row in reader)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: expected CSV ({error})") from None
    if not rows:
        raise InputError(f"{path}: expected at least one row under the names of the columns, there is none")
    return RatingTable(path, source.sha256, rows)


@dataclass(frozen=True)
class _Places:
    """Field -> column, item -> column."""

    fields: Mapping[str, str]
    items: Mapping[str, str]


def _by_name(path: Path, header: list[str], scale: Scale) -> _Places:
    """Columns under our own names; items by id or title. An unknown column is refused: it may be an item that is misspelt."""
    names = {name: name for name in (*FIELDS, *AMOUNTS)}
    items = {
        _folded(name): item.id for item in scale.items for name in (item.id, item.title, f"item_{item.id}", f"item:{item.id}")
    }
    fields: dict[str, str] = {}
    found: dict[str, str] = {}
    for column in header:
        own = column.strip().casefold().replace(" ", "_")
        taken = fields if own in names else found if _folded(column) in items else None
        if taken is None and own not in IGNORED:
            known = ", ".join([*FIELDS, *AMOUNTS, *(item.id for item in scale.items)])
            raise InputError(f"{path}, line 1: unknown column {column!r}, expected one of {known}")
        if taken is not None:
            name = names[own] if taken is fields else items[_folded(column)]
            if name in taken:
                raise InputError(f"{path}, line 1: expected {name} once, found {taken[name]!r} and {column!r}")
            taken[name] = column
    return _Places(fields, found)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9:]+", " ", name.casefold().replace("behaviour", "behavior")).strip()


def _declared(path: Path, header: list[str], declared: Declared) -> _Places:
    """Columns as a mapping declares them; others are left alone."""
    prefix = declared.item_prefix
    items = {name.removeprefix(prefix): name for name in header if name.startswith(prefix)} if prefix else declared.item_columns
    fields = {name: column for name, column in declared.columns.items() if name in FIELDS}
    spared = {declared.columns[name] for name in declared.optional if name in declared.columns}
    if declared.total != "sum":
        fields["total"] = declared.total
    needed = [*fields.values(), *items.values(), *(part.column for part in declared.patterns)]
    lacking = next((column for column in needed if column not in header and column not in spared), None)
    if lacking is not None:
        raise InputError(f"{path}, line 1: column {lacking!r} is missing, which the mapping {declared.mapping} names")
    return _Places({name: column for name, column in fields.items() if column in header}, items)


def _row(line: int, cells: Mapping[str, Any], places: _Places, declared: Declared | None) -> Row:
    missing = declared.missing if declared else MISSING
    fields = {name: str(value) for name, value in declared.constants.items() if name in FIELDS} if declared else {}
    fields |= dict(_filled(cells, places.fields, missing))
    for part in declared.patterns if declared else ():
        parts = re.fullmatch(part.pattern, str(cells.get(part.column) or ""))
        fields |= {name: value for name, value in (parts.groupdict() if parts else {}).items() if value}
    for name, values in (declared.values if declared else {}).items():
        if name in fields:
            fields[name] = values.get(fields[name], fields[name])
    return Row(line, fields, dict(_filled(cells, places.items, missing)))


def _filled(cells: Mapping[str, Any], places: Mapping[str, str], missing: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, column in places.items():
        cell = str(cells.get(column) or "").strip()
        if cell not in missing:
            yield name, cell
