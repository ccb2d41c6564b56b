"""Tables: each number is read from the analysis by its JSON pointer and printed beside it, so that
none comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar, overload

from cbt_ray.report.at import At, path, step
from cbt_ray.report.prose import DASH

R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Show = Callable[..., str]
NOTHING = ("", DASH)


@dataclass(frozen=True)
class Cell:
    """What is printed, and under which pointers (RFC 6901) of analysis.json it stands."""

    text: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column of a table whose rows are parts of the analysis: made by `column`."""

    title: str
    show: Show
    reads: tuple[tuple[Callable[[R], object], str], ...]
    """What `show` is called with: fields of a row, each with its pointer there."""
    prose: bool = False
    """Text that wraps, set to the left."""
    optional: bool = False
    """Left out where no row has anything in it."""
    below: bool = False
    """A remark: under its row, or once in the note where all rows have the same."""


@overload
def column(
    title: str,
    show: Callable[[A], str],
    first: Callable[[R], A],
    /,
    *,
    prose: bool = ...,
    optional: bool = ...,
    below: bool = ...,
) -> Column[R]: ...
@overload
def column(
    title: str,
    show: Callable[[A, B], str],
    first: Callable[[R], A],
    second: Callable[[R], B],
    /,
    *,
    prose: bool = ...,
    optional: bool = ...,
    below: bool = ...,
) -> Column[R]: ...
@overload
def column(
    title: str,
    show: Callable[[A, B, C], str],
    first: Callable[[R], A],
    second: Callable[[R], B],
    third: Callable[[R], C],
    /,
    *,
    prose: bool = ...,
    optional: bool = ...,
    below: bool = ...,
) -> Column[R]: ...
def column(
    title: str,
    show: Show,
    /,
    *reads: Callable[[Any], object],
    prose: bool = False,
    optional: bool = False,
    below: bool = False,
) -> Column[Any]:
    """A column that shows what is read of each row: `column("p", probability, lambda row: row.p)`.

    Where `show` takes several values, as many functions read them.
    """
    return Column(title, show, tuple((read, path(read)) for read in reads), prose, optional, below)


@dataclass(frozen=True)
class Row:
    """One row, and a remark that stands below it."""

    cells: Sequence[Cell]
    below: Cell | None = None


@dataclass(frozen=True)
class Table:
    """One numbered table; `empty` says why there is none."""

    id: str
    title: str
    head: Sequence[tuple[str, bool]] = ()
    """Titles of the columns, and whether they hold prose."""
    rows: Sequence[Row] = ()
    note: str = ""
    empty: str = ""
    kind: str = "table"


def shown(show: Show, *parts: At[Any]) -> Cell:
    """One cell: parts of the analysis as `show` prints them; of a record every field has a key."""
    keys = tuple(key for part in parts for key in _keys(part))
    return Cell(show(*(part.value for part in parts)), keys)


def _keys(part: At[Any]) -> list[str]:
    if not is_dataclass(part.value):
        return [part.pointer]
    return [part.pointer + step(field.name) for field in fields(part.value)]


def tabulate(
    place: tuple[str, str],
    rows: Sequence[At[R]],
    columns: Sequence[Column[R]],
    *,
    note: str = "",
    empty: str = "",
    names: Sequence[str] = (),
) -> Table:
    """A table of parts of the analysis, a row each.

    `place` is its id and title; `empty` is said where there is no row; `names` are put in front of
    the rows, in a column without a title.
    """
    id_, title = place
    cells = [_line(row, columns) for row in rows]
    if not cells:
        return Table(id_, title, note=note, empty=empty or "There is none.")
    kept = [
        i
        for i, column in enumerate(columns)
        if not _left_out(column, [line[i].text for line in cells])
    ]
    remark = next((i for i, column in enumerate(columns) if column.below), None)
    remarks = [
        line[remark] if remark is not None and line[remark].text not in NOTHING else None
        for line in cells
    ]
    said = {one.text if one else None for one in remarks}
    if len(said) == 1 and None not in said:
        note, remarks = (
            f"{note} {columns[remark or 0].title}: {str(said.pop()).rstrip('.')}.".strip(),
            [None] * len(cells),
        )
    front = [[Cell(name)] for name in names] or [[] for _ in cells]
    found = [
        Row([*first, *(line[i] for i in kept)], below)
        for first, line, below in zip(front, cells, remarks, strict=True)
    ]
    head = [("", False)] if names else []
    return Table(
        id_, title, [*head, *((columns[i].title, columns[i].prose) for i in kept)], found, note
    )


def _line(row: At[R], columns: Sequence[Column[R]]) -> list[Cell]:
    return [
        shown(one.show, *(At(read(row.value), row.pointer + at) for read, at in one.reads))
        for one in columns
    ]


def _left_out(column: Column[Any], texts: Sequence[str]) -> bool:
    return column.below or (column.optional and all(text in NOTHING for text in texts))
