"""A CSV file: its header, its columns in one reading, and on which line a row stands."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cbt_ray.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


class CsvFile:
    """A table with a header line, in UTF-8; blank lines do not count."""

    def __init__(self, path: Path, separator: str = ",", missing: Collection[str] = ("",)) -> None:
        self.path = path
        self.separator = separator
        self.missing = tuple(missing)

    @cached_property
    def header(self) -> list[str]:
        """Names of the columns. Raises InputError where there is no table, or a name stands twice."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                names = next((row for row in csv.reader(file, delimiter=self.separator) if row), [])
        except FileNotFoundError:
            raise InputError(f"{self.path}: expected a CSV file, there is none") from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: expected a CSV file in UTF-8 ({error})") from None
        if not names:
            raise InputError(f"{self.path}: expected a line with the names of the columns, the file is empty")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{self.path}, line 1: expected each column once, {twice!r} stands there twice")
        return names

    def read(self, columns: Sequence[str], text: Collection[str]) -> pd.DataFrame:
        """Some columns: `text` as categories, the others as numbers where every cell is one. Raises InputError."""
        import pandas as pd

        self.check_widths()
        try:
            table = pd.read_csv(
                self.path,
                sep=self.separator,
                usecols=list(columns),
                dtype=dict.fromkeys(text, "category"),
                na_values=list(self.missing),
                keep_default_na=False,
                encoding="utf-8-sig",
                low_memory=False,
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            said = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
            raise InputError(f"{self.path}: expected a CSV file in UTF-8 ({said})") from None
        if not len(table):
            raise InputError(f"{self.path}: expected at least one row under the names of the columns, there is none")
        return table

    def check_widths(self) -> None:
        """Raise InputError on a row that is longer or shorter than the header: pandas would shift, cut or fill it in silence."""
        width = len(self.header)
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self.separator)
                wrong = next(((reader.line_num, len(cells)) for cells in reader if cells and len(cells) != width), None)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: expected a CSV file in UTF-8 ({error})") from None
        if wrong:
            raise InputError(f"{self.path}, line {wrong[0]}: expected {width} cells as in line 1, found {wrong[1]}")

    def line(self, row: int) -> int:
        """The line on which a row of the table ends (the first is 0), which may hold line ends of its own."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=self.separator)
            rows = (reader.line_num for cells in reader if cells)
            return next((number for place, number in enumerate(rows) if place == row + 1), row + 2)
