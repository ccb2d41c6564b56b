"""Tables: each number is read from the analysis by its JSON pointer and printed beside it, so that
none comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar, overload

from cbt_ray.analysis.analyse import Analysis
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
    fields: str | tuple[str, ...]
    """Pointers inside a row, such as `estimate` or `total/mean`; what `show` is called with."""
    show: Show = str
    prose: bool = False
    """Text that wraps, set to the left."""
    optional: bool = False
    """Left out where no row has anything in it."""
    below: bool = False
    """A remark: under its row, or once in the note where all rows have the same."""
    reads: tuple[Callable[[R], object], ...] = ()
    """How `fields` are read, where `column` made it."""


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
    found = tuple(path(read).removeprefix("/") for read in reads)
    return Column(title, found, show, prose, optional, below, reads)


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


def pick(document: Any, pointer: str) -> Any:
    """What lies under a JSON pointer; None from the first null on.

    Raises LookupError where a step of it is absent.
    """
    for escaped in pointer.split("/")[1:]:
        name = escaped.replace("~1", "/").replace("~0", "~")
        if document is None:
            return None
        if isinstance(document, Mapping) and name in document:
            document = document[name]
        elif is_dataclass(document) and name in document.__dataclass_fields__:
            document = getattr(document, name)
        elif isinstance(document, list | tuple) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            raise LookupError(f"{pointer}: the analysis has no {name} there")
    return document


def under(*steps: object) -> str:
    """The pointer of nested names: `under("views", "masked", "contrasts", 0)`."""
    return "".join(map(step, steps))


def cell(analysis: Any, show: Show, *pointers: str, at: str = "") -> Cell:
    """One cell: the values under the pointers as `show` prints them."""
    values = (pick(analysis, pointer) for pointer in pointers)
    return Cell(show(*values), tuple(at + pointer for pointer in pointers))


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
    lines = [_cells(row, columns) for row in rows]
    return _table(place, lines, columns, note=note, empty=empty, names=names)


def _cells(row: At[R], columns: Sequence[Column[R]]) -> list[Cell]:
    return [
        shown(column.show, *(row.of(read) for read in column.reads))
        if column.reads
        else cell(row.value, column.show, *_fields(column), at=row.pointer)
        for column in columns
    ]


def _fields(column: Column[Any]) -> tuple[str, ...]:
    fields = (column.fields,) if isinstance(column.fields, str) else column.fields
    return tuple(f"/{field}" for field in fields)


def table(
    analysis: Analysis,
    place: tuple[str, str],
    pointer: str,
    columns: Sequence[Column[Any]],
    *,
    note: str = "",
    empty: str = "",
) -> Table:
    """A table of a list in the analysis, one row an element.

    `place` is its id and title, `empty` is said where the list is.
    """
    count = len(pick(analysis, pointer))
    return listed(
        analysis,
        place,
        [f"{pointer}/{index}" for index in range(count)],
        columns,
        note=note,
        empty=empty,
    )


def listed(
    analysis: Analysis,
    place: tuple[str, str],
    pointers: Sequence[str],
    columns: Sequence[Column[Any]],
    *,
    note: str = "",
    empty: str = "",
    names: Sequence[str] = (),
) -> Table:
    """A table of the elements at these pointers.

    `names` are put in front of the rows, in a column without a title.
    """
    cells = [row(analysis, pointer, columns) for pointer in pointers]
    return _table(place, cells, columns, note=note, empty=empty, names=names)


def _table(
    place: tuple[str, str],
    cells: Sequence[Sequence[Cell]],
    columns: Sequence[Column[Any]],
    *,
    note: str,
    empty: str,
    names: Sequence[str],
) -> Table:
    id_, title = place
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
    rows = [
        Row([*first, *(line[i] for i in kept)], below)
        for first, line, below in zip(front, cells, remarks, strict=True)
    ]
    head = [("", False)] if names else []
    return Table(
        id_, title, [*head, *((columns[i].title, columns[i].prose) for i in kept)], rows, note
    )


def _left_out(column: Column[Any], texts: Sequence[str]) -> bool:
    return column.below or (column.optional and all(text in NOTHING for text in texts))


def row(analysis: Analysis, pointer: str, columns: Sequence[Column[Any]]) -> list[Cell]:
    """One row of the columns' fields under a pointer."""
    found = pick(analysis, pointer)
    return _cells(At(found, pointer), columns)
