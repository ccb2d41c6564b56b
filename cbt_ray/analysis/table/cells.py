"""Cells of somebody's table as values of ours, a column at a time.

What cannot be read is noted with row, column and reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbt_ray.errors import InputError
from cbt_ray.rating.measure import MeasureKind
from cbt_ray.reading.cell import UNFIT, not_a_number, number_of, shown
from cbt_ray.reading.table import Table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]

LARGEST_WHOLE = 10**9
"""No session, replicate or count of words is larger."""
YES, NO = ("True", "true", "TRUE", "1", "yes"), ("False", "false", "FALSE", "0", "no")


@dataclass
class Complaints:
    """Cells that could not be read: the first of each kind, and how many there are."""

    found: list[tuple[int, str, str]] = field(default_factory=list)
    count: int = 0
    told: dict[str, Array] = field(default_factory=dict)
    """Column -> mask of its cells that were complained about: one reason a cell is enough."""

    def add(self, wrong: Array, column: str, say: Callable[[int], str]) -> None:
        """Note the cells of a column at which the mask `wrong` (rows,) is true.

        `say` is asked for the first.
        """
        import numpy as np

        wrong = wrong & ~self.told.get(column, np.zeros(len(wrong), dtype=bool))
        rows = np.flatnonzero(wrong)
        if len(rows):
            self.told[column] = wrong | self.told.get(column, wrong)
            self.found.append((int(rows[0]), column, say(int(rows[0]))))
            self.count += len(rows)

    def check(self, table: Table) -> None:
        """Raise InputError on the first cell, if there is any."""
        if self.found:
            row, column, reason = min(self.found)
            more = f" (and {self.count - 1} more)" if self.count > 1 else ""
            raise InputError(
                f"{table.name}, line {table.lines[row]}, column {column}: {reason}{more}"
            )


def category(
    cells: Sequence[str], missing: Sequence[str], column: str, complaints: Complaints
) -> pd.Series:
    """Cells (rows,) as a categorical series of text, character for character.

    Those that say that there is no value are NaN.
    """
    import numpy as np
    import pandas as pd

    codes, found = pd.factorize(np.array(cells, dtype=object))
    unfit = np.array([bool(UNFIT.search(cell)) for cell in found])[codes]
    complaints.add(unfit, column, lambda row: f"expected text, found {shown(cells[row])}")
    places = np.cumsum([cell not in missing for cell in found]) - 1
    own = np.where([cell in missing for cell in found], -1, places)
    kept = ["" if UNFIT.search(cell) else cell for cell in found if cell not in missing]
    return labelled(own[codes], kept)


def labelled(codes: Array, labels: Sequence[str]) -> pd.Series:
    """Codes (rows,), -1 where there is none, as a categorical series; labels may repeat."""
    import numpy as np
    import pandas as pd

    unique = list(dict.fromkeys(labels))
    places = {label: place for place, label in enumerate(unique)}
    own = np.array([places[label] for label in labels] + [-1], dtype=np.int64)
    return pd.Series(pd.Categorical.from_codes(own[codes], pd.Index(unique, dtype="str")))


def by_category(values: pd.Series, test: Callable[[str], bool], none: bool) -> Array:
    """(rows,) a test of text, asked once per different cell.

    `none` is its answer for an empty one.
    """
    import numpy as np

    return np.asarray(
        np.array([test(str(value)) for value in values.cat.categories] + [none])[
            values.cat.codes.to_numpy()
        ]
    )


def renamed(
    values: pd.Series, names: Mapping[str, str], column: str, name: str, complaints: Complaints
) -> pd.Series:
    """Text in our words; a word that `names` lacks is refused."""
    expected = f"expected one of {', '.join(map(repr, names))} for {name}"
    complaints.add(
        by_category(values, lambda value: value not in names, False),
        column,
        lambda row: f"{expected}, found {shown(values.iloc[row])}",
    )
    return labelled(
        values.cat.codes.to_numpy(), [names.get(str(value), "") for value in values.cat.categories]
    )


def parts(
    values: pd.Series, pattern: str, column: str, complaints: Complaints
) -> dict[str, pd.Series]:
    """The named groups of an expression that the whole cell must match.

    A group that took no part is empty.
    """
    compiled = re.compile(pattern)
    matches = [compiled.fullmatch(str(value)) for value in values.cat.categories]
    known = {
        str(value) for value, match in zip(values.cat.categories, matches, strict=True) if match
    }
    wrong = by_category(values, lambda value: value not in known, True)
    complaints.add(
        wrong, column, lambda row: f"expected {pattern}, found {_shown(values.iloc[row])}"
    )
    codes = values.cat.codes.to_numpy()
    return {
        name: labelled(codes, [(match.group(name) or "") if match else "" for match in matches])
        for name in compiled.groupindex
    }


def _shown(value: str | float) -> str:
    """A cell as it is quoted in a complaint; an empty one is NaN."""
    return _found(value) if isinstance(value, float) else shown(str(value))


def number(values: pd.Series, column: str, complaints: Complaints, decimal: str = ".") -> pd.Series:
    """A column of text as numbers; empty cells are NaN."""
    import numpy as np
    import pandas as pd

    found = {str(value): number_of(str(value), decimal) for value in values.cat.categories}
    wrong = by_category(values, lambda value: found[value] is None, False)
    complaints.add(wrong, column, lambda row: not_a_number(str(values.iloc[row]), decimal))
    numbers = [math.nan if value is None else value for value in found.values()]
    return pd.Series(np.array([*numbers, math.nan])[values.cat.codes.to_numpy()])


def whole(
    values: pd.Series, least: int, column: str, name: str, complaints: Complaints
) -> pd.Series:
    """Whole numbers of at most 10^9, none below `least`.

    Empty cells are refused where `least` is not 0.
    """
    there, right = values.notna(), (values >= least) & (values <= LARGEST_WHOLE) & (values % 1 == 0)
    wrong = (~right & (there | (least > 0))).to_numpy()
    expected = f"expected a whole number from {least} for {name}, found"
    complaints.add(wrong, column, lambda row: f"{expected} {_found(values.iloc[row])}")
    return values.where(right, least)


def within(
    values: pd.Series,
    limits: tuple[float, float],
    kind: MeasureKind,
    column: str,
    complaints: Complaints,
) -> pd.Series:
    """Numbers of a range, as a score, flag, share or count has them."""
    low, high = limits
    wrong, expected = (values < low) | (values > high), f"a number from {low:g} to {high:g}"
    if kind == "flag":
        wrong, expected = values.notna() & ~values.isin(limits), f"{low:g} or {high:g}"
    if kind == "count":
        wrong, expected = wrong | (values % 1 > 0), f"a whole number from {low:g}"
    complaints.add(
        wrong.to_numpy(), column, lambda row: f"expected {expected}, found {values.iloc[row]:g}"
    )
    return values


def _found(value: float) -> str:
    return "an empty cell" if math.isnan(value) else f"{value:g}"


def yes(values: pd.Series, column: str, complaints: Complaints) -> Array:
    """(rows,) of True and False."""
    wrong = by_category(values, lambda value: value not in YES + NO, True)
    complaints.add(
        wrong, column, lambda row: f"expected True or False, found {_shown(values.iloc[row])}"
    )
    return by_category(values, lambda value: value in YES, False)


def joined(columns: Sequence[pd.Series], sign: str) -> pd.Series:
    """The cells of a row as one text, made once per different row; what is empty is left out."""
    import numpy as np
    import pandas as pd

    code = np.zeros(len(columns[0]), dtype=np.int64)
    labels: list[list[str]] = []
    for column in columns:
        own, values = pd.factorize(column)
        labels.append([_part(value, sign) for value in values] + [""])
        code = code * len(labels[-1]) + np.where(own < 0, len(values), own)
    found, place = np.unique(code, return_inverse=True)
    cells = []
    for own_labels in reversed(labels):
        found, number_of = np.divmod(found, len(own_labels))
        cells.append([own_labels[i] for i in number_of.tolist()])
    return labelled(
        place,
        [sign.join(word for word in row if word) for row in zip(*reversed(cells), strict=True)],
    )


def _part(value: str | float, sign: str) -> str:
    """A cell as part of a joined text.

    What holds the sign that joins is written otherwise, so that no two rows become one.
    """
    text = str(int(value)) if isinstance(value, float) else str(value)
    return text.replace("%", "%25").replace(sign, f"%{ord(sign):02X}") if sign == "/" else text
