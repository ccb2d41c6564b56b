"""Tables: each number is read from the analysis by its JSON pointer and printed beside it, so that
none comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbt_ray.report.prose import DASH

Show = Callable[..., str]
NOTHING = ("", DASH)


@dataclass(frozen=True)
class Cell:
    """What is printed, and under which pointers (RFC 6901) of analysis.json it stands."""

    text: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column of a table whose rows are a list in the analysis."""

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
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if document is None:
            return None
        if isinstance(document, Mapping) and name in document:
            document = document[name]
        elif isinstance(document, list | tuple) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            raise LookupError(f"{pointer}: the analysis has no {name} there")
    return document


def under(*steps: object) -> str:
    """The pointer of nested names: `under("views", "masked", "contrasts", 0)`."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def cell(analysis: Mapping[str, Any], show: Show, *pointers: str) -> Cell:
    """One cell: the values under the pointers as `show` prints them."""
    return Cell(show(*(pick(analysis, pointer) for pointer in pointers)), pointers)


def table(
    analysis: Mapping[str, Any],
    place: tuple[str, str],
    pointer: str,
    columns: Sequence[Column],
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
    analysis: Mapping[str, Any],
    place: tuple[str, str],
    pointers: Sequence[str],
    columns: Sequence[Column],
    *,
    note: str = "",
    empty: str = "",
    names: Sequence[str] = (),
) -> Table:
    """A table of the elements at these pointers.

    `names` are put in front of the rows, in a column without a title.
    """
    id_, title = place
    if not pointers:
        return Table(id_, title, note=note, empty=empty or "There is none.")
    cells = [row(analysis, pointer, columns) for pointer in pointers]
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


def _left_out(column: Column, texts: Sequence[str]) -> bool:
    return column.below or (column.optional and all(text in NOTHING for text in texts))


def row(analysis: Mapping[str, Any], pointer: str, columns: Sequence[Column]) -> list[Cell]:
    """One row of the columns' fields under a pointer."""
    cells = []
    for column in columns:
        fields = (column.fields,) if isinstance(column.fields, str) else column.fields
        cells.append(cell(analysis, column.show, *(f"{pointer}/{field}" for field in fields)))
    return cells
