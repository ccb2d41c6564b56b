"""A CSV file: text cells by column, each row with its line.

What would be shifted, cut or guessed is refused.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.reading.cell import shown, unescaped
from cbt_ray.reading.regular import read_bytes

if TYPE_CHECKING:
    from _csv import Reader

LARGEST = 1 << 29
"""Bytes of a file; 10^6 ratings of 11 items have 70 MB."""
MOST_ROWS = 3_000_000
MOST_COLUMNS = 2_000
LONGEST_CELL = 1_000_000
"""Characters."""
LONGEST_ROW = 16_000_000
"""Characters."""
AT_ONCE = 1 << 14
MOST_KNOWN = 100_000
"""Different cells of a column that are held once each; above, they are ids."""
_NO_TEXT = re.compile(r"idna|punycode|(raw_)?unicode_escape|undefined|utf_?7|mbcs|oem")
_WORKBOOK = b"PK\x03\x04"


class TableFault(InputError):
    """What is wrong with a table, with the line where there is one."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}{f', line {line}' if line else ''}{_joint(reason)}{reason}")
        self.line = line
        self.reason = reason

    def __reduce__(self) -> tuple[type[InputError], tuple[str]]:
        """As its line alone (Ray pickles exceptions)."""
        return InputError, (str(self),)


@dataclass(frozen=True)
class Table:
    """A table that was read. Cells are text, character for character."""

    name: str
    """How messages name it."""
    columns: dict[str, list[str]]
    """Name -> a cell for each row; in the order of the file."""
    unnamed: tuple[int, ...]
    """Columns (from 1) that have cells and no name; they are left out."""
    lines: array[int]
    """The line on which each row begins."""
    header_line: int
    sha256: str
    notices: tuple[str, ...]
    """What was passed over."""

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def hint(self) -> str:
        """Which separator the mapping should name, where all names came as one; else empty."""
        return _other_separator(list(self.columns))


def encoding_of(name: str) -> str:
    """The name of an encoding of text. Raises ValueError where it is none."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError, UnicodeError):
        raise ValueError(
            f"expected an encoding, such as utf-8, utf-16, cp1252 or latin-1, found {name!r}"
        ) from None
    if not found._is_text_encoding or _NO_TEXT.fullmatch(found.name.replace("-", "_")):
        raise ValueError(
            "expected an encoding of text, such as utf-8, utf-16, cp1252 or latin-1, found "
            f"{name!r}"
        )
    return name


def read_table(
    file: Path,
    name: str | None = None,
    *,
    separator: str = ",",
    encoding: str = "utf-8",
    own: bool = False,
) -> Table:
    """A CSV file with a header.

    `own`: cbt-ray wrote it; its apostrophe before a formula is no text.

    Rows without any text and columns with neither name nor cells are passed over and counted.
    Raises InputError, one line, with line and column.
    """
    where = name or str(file)
    data = read_bytes(file, name, LARGEST)
    if data.startswith(_WORKBOOK):
        raise TableFault(
            where, 0, "expected a CSV file, found a workbook or an archive; save the sheet as CSV"
        )
    return _Reader(where, data, separator, encoding).read(own=own)


@dataclass
class _Reader:
    """One pass over the rows."""

    name: str
    data: bytes
    separator: str
    encoding: str
    start: int = 1
    """The line on which the row begins that is being read."""
    length: int = 0
    """Its characters so far."""
    blank: int = 0
    lines: array[int] = field(default_factory=lambda: array("q"))

    def read(self, *, own: bool) -> Table:
        csv.field_size_limit(LONGEST_CELL)
        reader = csv.reader(self._text(), delimiter=self.separator, strict=True)
        try:
            header, header_line = self._header(reader)
            cells: list[list[str]] = [[] for _ in header]
            known: list[dict[str, str]] = [{} for _ in header]
            for rows in self._batches(reader, header):
                _add(rows, cells, known)
        except csv.Error as error:
            raise self._torn(str(error), reader.line_num) from None
        except UnicodeError as error:
            raise self._undecoded(error) from None
        return self._table(header, header_line, cells, own=own)

    def _text(self) -> Iterator[str]:
        """Lines with their ends, of a bounded length."""
        encoding = "utf-8-sig" if codecs.lookup(self.encoding).name == "utf-8" else self.encoding
        stream = io.TextIOWrapper(io.BytesIO(self.data), encoding, newline="")
        for number, line in enumerate(stream, 1):
            self.length += len(line)
            if self.length > LONGEST_ROW:
                raise TableFault(
                    self.name, number, f"expected at most {LONGEST_ROW:,} characters in a row"
                )
            if "\0" in line:
                hint = " (UTF-16? Then the mapping says `encoding: utf-16`)" if number == 1 else ""
                raise TableFault(self.name, number, f"expected text, found a NUL character{hint}")
            yield line.removeprefix("\ufeff") if number == 1 else line

    def _rows(self, reader: Reader) -> Iterator[list[str]]:
        """Rows that hold any text; `start` is the line of each."""
        for row in reader:
            if _filled(row):
                yield row
            else:
                self.blank += 1
            self.start, self.length = reader.line_num + 1, 0
            if len(self.lines) + self.blank > MOST_ROWS:
                raise TableFault(self.name, self.start, f"expected at most {MOST_ROWS:,} rows")

    def _header(self, reader: Reader) -> tuple[list[str], int]:
        row = next(self._rows(reader), None)
        if row == ["sep=", ""]:  # what some spreadsheets write first, for other spreadsheets
            self.start, self.length = reader.line_num + 1, 0
            row = next(self._rows(reader), None)
        if row is None:
            raise TableFault(
                self.name, 0, "expected a line with the names of the columns, the file is empty"
            )
        line, self.start, self.length = self.start, reader.line_num + 1, 0
        if len(row) > MOST_COLUMNS:
            raise TableFault(
                self.name, line, f"expected at most {MOST_COLUMNS:,} columns, found {len(row):,}"
            )
        names = [name if name.strip() else "" for name in row]
        for place, name in enumerate(names, 1):
            if name and names.index(name) + 1 < place:
                raise TableFault(
                    self.name,
                    line,
                    f"column {place}: expected each column once, {shown(name)} is there twice",
                )
        return names, line

    def _batches(self, reader: Reader, header: list[str]) -> Iterator[list[list[str]]]:
        """Rows, some at a time."""
        batch: list[list[str]] = []
        width = len(header)
        for row in self._rows(reader):
            if len(row) != width:
                raise self._unequal(row, header, self.start)
            batch.append(row)
            self.lines.append(self.start)
            if len(batch) == AT_ONCE:
                yield batch
                batch = []
        yield batch

    def _unequal(self, row: list[str], header: list[str], line: int) -> TableFault:
        width = len(header)
        place, found = (
            min(len(row), width) + 1,
            f"expected {many(width, 'cell')} as in the line with the names, found {len(row)}",
        )
        hint = (
            f"; a cell that holds {self.separator!r} goes into quotes" if len(row) > width else ""
        )
        return TableFault(
            self.name, line, f"column {place}: {found}{_other_separator(header) or hint}"
        )

    def _torn(self, error: str, line: int) -> TableFault:
        if "field larger" in error:
            return TableFault(
                self.name,
                line,
                f"expected at most {LONGEST_CELL:,} characters in a cell (is a quote not closed?)",
            )
        if "unexpected end" in error:
            return TableFault(
                self.name, self.start, "expected a closing quote, the file ends before it"
            )
        return TableFault(self.name, line, f"expected CSV: {error}")

    def _undecoded(self, error: UnicodeError) -> TableFault:
        """The line of the byte: what reads the file goes ahead of the rows."""
        line, found = 1, str(error)
        try:
            self.data.decode(self.encoding)
        except UnicodeDecodeError as own:
            line = self.data[: own.start].decode(self.encoding, "replace").count("\n") + 1
            found = f"found the byte 0x{self.data[own.start]:02x}"
        except UnicodeError:
            pass
        wide = self.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        other = "utf-16" if wide else "cp1252" if self.encoding == "utf-8" else "utf-8"
        hint = f"where it is another encoding, the mapping says which: `encoding: {other}`"
        return TableFault(
            self.name, line, f"expected text in {self.encoding.upper()}, {found}; {hint}"
        )

    def _table(
        self, header: list[str], header_line: int, cells: list[list[str]], *, own: bool
    ) -> Table:
        if not self.lines:
            raise TableFault(
                self.name,
                0,
                "expected at least one row under the names of the columns, there is none",
            )
        nameless = [place for place, name in enumerate(header) if not name]
        unnamed = tuple(place + 1 for place in nameless if _filled(cells[place]))
        empty = len(nameless) - len(unnamed)
        columns = {name: column for name, column in zip(header, cells, strict=True) if name}
        if own and b"'" in self.data:
            columns = {
                unescaped(name): [unescaped(cell) for cell in column]
                for name, column in columns.items()
            }
        notices = [f"{many(self.blank, 'row')} without any text ignored"] if self.blank else []
        notices += (
            [f"{many(empty, 'column')} with neither a name nor cells ignored"] if empty else []
        )
        notices += [f"column {place} has no name and is left out" for place in unnamed]
        digest = hashlib.sha256(self.data).hexdigest()
        return Table(self.name, columns, unnamed, self.lines, header_line, digest, tuple(notices))


def _other_separator(names: list[str]) -> str:
    other = next((sign for sign in ";\t,|" if sign in names[0]), None) if len(names) == 1 else None
    return (
        f"; where {other!r} separates the cells, the mapping says `separator: {json.dumps(other)}`"
        if other
        else ""
    )


def _joint(reason: str) -> str:
    return ", " if reason.startswith("column ") else ": "


def _filled(cells: list[str]) -> bool:
    return any(map(str.strip, cells))


def _add(rows: list[list[str]], cells: list[list[str]], known: list[dict[str, str]]) -> None:
    """Rows at the end of the columns; equal cells of a column are one text in memory."""
    for column, own, new in zip(cells, known, zip(*rows, strict=True), strict=False):
        if len(own) < MOST_KNOWN:
            column.extend(map(own.setdefault, new, new))
        else:
            column.extend(new)
