"""Somebody's table of ratings as Scores, by a mapping.

Column by column, never row by row: 10^6 ratings take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from cbt_ray.analysis.scores import FACTOR, FLAG, ITEM, Scores
from cbt_ray.analysis.table.cells import (
    Complaints,
    by_category,
    category,
    joined,
    labelled,
    number,
    parts,
    renamed,
    whole,
    within,
    yes,
)
from cbt_ray.analysis.table.mapping import AMOUNTS, HEARD, NUMBERS, RATED, TEXTS, Mapping
from cbt_ray.analysis.table.scheduled import absent_rows, key_of, phases_of
from cbt_ray.errors import InputError
from cbt_ray.reading.cell import shown
from cbt_ray.reading.table import Table
from cbt_ray.study.imported import OWN_JUDGE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]
    Fields = dict[str, pd.Series]
    Named = dict[str, str]

EMPTY = "no_score"
"""Why a row is unrated that holds neither a score nor a reason."""
DEFAULTS: dict[str, str | int | None] = {
    **{
        "phase": "",
        "view": "plain",
        "judge": OWN_JUDGE,
        "kind": "model",
        "flags": "",
    },
    **{"reason": None, "stop_reason": None, "replicate": 1, "session": 1, "judge_replicate": 1},
    **dict.fromkeys(AMOUNTS, 0),
}
MAY_BE_EMPTY = ("reason", "stop_reason", "phase", "flags")
KINDS = ("model", "human", "rule")
NEVER_EMPTY = ("session_key", "arm", "patient", "view", "judge", "kind")
NAMES = ("arm", "patient", "judge")
KEY = ("session_key", "view", "judge", "judge_replicate")
"""What tells ratings apart."""


@dataclass(frozen=True)
class Mapped:
    """A table, read."""

    scores: Scores
    titles: dict[str, str]
    """Item -> readable name."""
    measures: pd.DataFrame | None
    """Subject, condition and measures of the mapping's repeated measures."""
    rows: int
    """Rows of the file."""
    absent: int
    """Scheduled sessions of which it has no row."""
    sha256: str
    """Of the file."""
    notices: tuple[str, ...]
    """What of the file was passed over, and what is likely to be an error of typing."""


@dataclass(frozen=True)
class ReadTable:
    """The table of ratings that was read, and by what."""

    file: str
    sha256: str
    rows: int
    """Rows of the file."""
    absent: int
    """Scheduled sessions of which it has no row."""
    notices: Sequence[str]
    """What of the file was passed over, and what is likely to be an error of typing."""
    cbt_ray: str
    """The version that read it."""
    mapping: dict[str, JsonValue]
    """Which column is what, as it was declared."""
    without: dict[str, str]
    """Section -> why it is empty."""


def read_table(path: Path, mapping: Mapping) -> Mapped:
    """Read a CSV file.

    Raises InputError, one line, on a column or cell that is not as the mapping says.
    """
    file, complaints = mapping.read(path), Complaints()
    columns, factors = _items(file, mapping), _factors(file, mapping)
    table = _load(file, mapping, [*columns.values(), *factors.values()], complaints)
    numbers = {
        name: _number(table, name, mapping, complaints)
        for name in _number_columns(mapping, columns)
    }
    fields = _fields(table, mapping, factors, complaints)
    items = {
        item: within(numbers[name], mapping.ends, mapping.outcome, name, complaints)
        for item, name in columns.items()
    }
    total = None if mapping.total == "sum" else numbers[mapping.total]
    if total is not None and mapping.outcome != "score":
        within(total, mapping.ends, mapping.outcome, mapping.total, complaints)
    measures = {
        name: numbers[name] for name in (mapping.repeated.measures if mapping.repeated else ())
    }
    rated = yes(fields.pop(RATED), mapping.columns[RATED], complaints) if RATED in fields else None
    _check_kinds(fields, mapping, complaints)
    complaints.check(file)
    ratings = _ratings(fields, items, total, rated, mapping, list(factors), len(file))
    _check_arms(ratings, file, mapping)
    _check_once(ratings, file, mapping, told="judge_replicate" in fields)
    absent = absent_rows(ratings, mapping)
    titles = {
        item: mapping.titles.get(item) or item.replace("_", " ").capitalize() for item in columns
    }
    notices = (*file.notices, *_alike(fields, mapping, list(factors)))
    own = _measures(ratings, measures, mapping)
    return Mapped(
        Scores(_joined(ratings, absent)),
        titles,
        own,
        len(ratings),
        len(absent),
        file.sha256,
        notices,
    )


def _joined(ratings: pd.DataFrame, absent: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([ratings, absent], ignore_index=True) if len(absent) else ratings


def _items(file: Table, mapping: Mapping) -> dict[str, str]:
    """Item -> column; a table of totals has one item, the total."""
    prefix = mapping.item_prefix
    if prefix is None:
        return mapping.item_columns or {"total": mapping.total}
    found = {
        name.removeprefix(prefix): name
        for name in file.columns
        if name.startswith(prefix) and name != prefix
    }
    if not found:
        named = f"item_prefix of the mapping {mapping.mapping}"
        raise InputError(
            f"{file.name}: expected columns that begin with {prefix!r} ({named}), there are "
            f"none{file.hint}"
        )
    return found


def _factors(file: Table, mapping: Mapping) -> dict[str, str]:
    """Factor -> its column, or empty where the mapping makes it of something else."""
    prefix = mapping.factor_prefix
    if prefix is None:
        return {name: mapping.columns.get(name, "") for name in mapping.factors}
    return {
        name.removeprefix(prefix): name
        for name in file.columns
        if name.startswith(prefix) and name != prefix
    }


def _load(file: Table, mapping: Mapping, more: Sequence[str], complaints: Complaints) -> Fields:
    """The columns that the mapping names, as categories of text."""
    check_columns(file, mapping)
    wanted = {*mapping.where, *more}
    return {
        name: category(cells, mapping.missing, name, complaints)
        for name, cells in file.columns.items()
        if name in wanted
    }


def check_columns(file: Table, mapping: Mapping) -> None:
    """Raise InputError where a column is missing that the mapping names and does not call
    optional.
    """
    spared = {mapping.columns[name] for name in mapping.optional if name in mapping.columns}
    absent = [
        column for column in mapping.where if column not in file.columns and column not in spared
    ]
    if absent:
        known = ", ".join(name[:40] for name in list(file.columns)[:20]) + (
            ", ..." if len(file.columns) > 20 else ""
        )
        named = f"which {mapping.where[absent[0]]} of the mapping {mapping.mapping} names"
        raise InputError(
            f"{file.name}: column {shown(absent[0])} is missing, {named}; the table has "
            f"{known}{file.hint}"
        )


def _number_columns(mapping: Mapping, items: dict[str, str]) -> list[str]:
    """Columns that hold scores or measures."""
    total = [] if mapping.total == "sum" else [mapping.total]
    return list(
        dict.fromkeys(
            [*items.values(), *total, *(mapping.repeated.measures if mapping.repeated else ())]
        )
    )


def _number(table: Fields, name: str, mapping: Mapping, complaints: Complaints) -> pd.Series:
    return number(table[name], name, complaints, mapping.decimal)


def _fields(table: Fields, mapping: Mapping, factors: Named, complaints: Complaints) -> Fields:
    """Every field that the table has: texts as categories, numbers as float."""
    found = {
        name: (column, table[column])
        for name, column in (factors | mapping.columns).items()
        if column in table
    }
    for part in mapping.patterns:
        own = parts(table[part.column], part.pattern, part.column, complaints)
        found |= {name: (part.column, values) for name, values in own.items()}
    return {
        name: _field(name, column, values, mapping, complaints, factor=name in factors)
        for name, (column, values) in found.items()
    }


def _field(
    name: str,
    column: str,
    values: pd.Series,
    mapping: Mapping,
    complaints: Complaints,
    *,
    factor: bool,
) -> pd.Series:
    if name == HEARD:
        return number(values, column, complaints, mapping.decimal)
    if name in NUMBERS or name in AMOUNTS:
        numbers = number(values, column, complaints, mapping.decimal)
        return whole(numbers, 0 if name in AMOUNTS else 1, column, name, complaints)
    said = f"expected a value for {name}, found an empty cell"
    if not factor and name not in MAY_BE_EMPTY:
        said += (
            f" (or one of `missing`, {', '.join(map(repr, mapping.missing))})"
            if any(mapping.missing)
            else ""
        )
        complaints.add(values.isna().to_numpy(), column, lambda _: said)
    if name in mapping.values:
        return renamed(values, mapping.values[name], column, name, complaints)
    if name in NEVER_EMPTY:
        complaints.add(
            by_category(values, lambda value: not value.strip(), False), column, lambda _: said
        )
    return labelled(values.cat.codes.to_numpy(), [str(value) for value in values.cat.categories])


def _check_kinds(fields: Fields, mapping: Mapping, complaints: Complaints) -> None:
    if "kind" in fields:
        said, expected = fields["kind"], "expected model, human or rule for kind, found"
        wrong = by_category(said, lambda value: value not in KINDS, False)
        complaints.add(
            wrong, mapping.where_of("kind"), lambda row: f"{expected} {shown(said.iloc[row])}"
        )


# --- the table of ratings


def _ratings(
    fields: Fields,
    items: Fields,
    total: pd.Series | None,
    rated: Array | None,
    mapping: Mapping,
    factors: Sequence[str],
    rows: int,
) -> pd.DataFrame:
    """All columns of Scores.ratings."""
    import numpy as np
    import pandas as pd

    columns = {
        name: fields[name] if name in fields else _same(value, rows)
        for name, value in (DEFAULTS | mapping.constants | fields).items()
    }
    if "arm" not in columns:
        columns["arm"] = joined([columns[name] for name in factors], "-")
    levels = {name: columns[name] for name in factors} or {"arm": columns["arm"]}
    if mapping.phases and "phase" not in fields:
        columns["phase"] = phases_of(columns["session"], mapping)
    if "session_key" not in columns:
        columns["session_key"] = key_of(columns)
    scores = np.column_stack(
        [np.empty((rows, 0)), *(series.to_numpy() for series in items.values())]
    )
    sums = scores.sum(axis=1) if total is None else total.to_numpy()
    there = ~np.isnan(sums) | (~np.isnan(scores)).any(axis=1)
    rated = there if rated is None else rated
    flags = _flags(columns.pop("flags"))
    frame: dict[str, Any] = {
        name: _plain(columns[name], name)
        for name in (*TEXTS, *NUMBERS, *AMOUNTS)
        if name in columns
    }
    frame |= {FACTOR + name: values.astype("str").fillna("") for name, values in levels.items()}
    frame[HEARD] = _heard(fields, rows)
    frame |= {
        "reason": _reasons(frame["reason"], rated),
        RATED: rated,
        "total": np.where(rated, sums, np.nan),
    }
    frame |= {
        ITEM + item: np.where(rated, series.to_numpy(), np.nan) for item, series in items.items()
    }
    return pd.DataFrame(frame | flags)


def _same(value: str | int | pd.Series | None, rows: int) -> pd.Series:
    """One value in all rows."""
    import numpy as np
    import pandas as pd

    if isinstance(value, int):
        return pd.Series(np.full(rows, float(value)))
    codes = np.full(rows, -1 if value is None else 0, dtype=np.int64)
    return labelled(codes, [] if value is None else [str(value)])


def _plain(values: pd.Series, name: str) -> pd.Series:
    """As Scores holds it: whole numbers or text."""
    plain = values.astype("int64" if name in NUMBERS or name in AMOUNTS else "str")
    return plain.fillna("") if DEFAULTS.get(name) == "" else plain


def _heard(fields: Fields, rows: int) -> Array:
    """NaN where nobody knows: no column, or one that counts no turn anywhere."""
    import numpy as np

    turns = fields.get(HEARD, fields.get("therapist_turns"))
    known = turns is not None and bool((turns > 0).any())
    return turns.to_numpy(dtype=float) if turns is not None and known else np.full(rows, np.nan)


def _reasons(said: pd.Series, rated: Array) -> pd.Series:
    """None where rated; elsewhere the table's reason, else that it has none."""
    return said.fillna(EMPTY).mask(rated, None)


def _flags(values: pd.Series) -> dict[str, Array]:
    """The words of a cell as a column each."""
    names = sorted({word for cell in values.cat.categories for word in str(cell).split()})
    return {
        FLAG + name: by_category(values, lambda cell, name=name: name in cell.split(), False)  # type: ignore[misc]
        for name in names
    }


def _check_arms(ratings: pd.DataFrame, file: Table, mapping: Mapping) -> None:
    """An arm has one level of each factor: `a-b` with `c` and `a` with `b-c` would be one arm."""
    names = [name for name in ratings.columns if name.startswith(FACTOR)]
    arms = ratings[["arm", *names]].drop_duplicates()
    double = arms["arm"].duplicated(keep=False)
    if double.any():
        own = arms[arms["arm"] == arms["arm"][double].iloc[0]]
        found = " and ".join(
            ", ".join(f"{name.removeprefix(FACTOR)} {shown(str(row[name]))}" for name in names)
            for row in own.iloc[:2].to_dict("records")
        )
        raise InputError(
            f"{file.name}, line {file.lines[int(own.index[1])]}: expected one level of each factor "
            f"for each arm, arm {shown(own['arm'].iloc[0])} is {found}; the mapping "
            f"{mapping.mapping} may name a column of arm"
        )


def _alike(fields: Fields, mapping: Mapping, factors: Sequence[str]) -> list[str]:
    """Names that differ in blanks at their ends or in case alone: they are different, and may be
    meant as one.
    """
    said = []
    for name in (*NAMES, *factors):
        found: dict[str, list[str]] = {}
        for value in fields[name].cat.categories if name in fields else ():
            found.setdefault(str(value).strip().casefold(), []).append(str(value))
        for names in (names for names in found.values() if len(names) > 1):
            words = " and ".join(map(shown, names[:2]))
            said.append(
                f"column {mapping.where_of(name)}: {words} count as different, as they are written"
            )
    return said


def _check_once(ratings: pd.DataFrame, file: Table, mapping: Mapping, *, told: bool) -> None:
    """Each session is rated once by a judge in a view, unless judge replicates tell its ratings
    apart.
    """
    double = ratings.duplicated(list(KEY)).to_numpy()
    if not double.any():
        return
    second = int(double.argmax())
    first = int(
        (ratings[list(KEY)] == ratings.loc[second, list(KEY)]).all(axis=1).to_numpy().argmax()
    )
    key, view, judge, _ = ratings.loc[second, list(KEY)]
    what = f"session {shown(str(key))}, view {shown(str(view))}, judge {shown(str(judge))}"
    unsaid = (
        f"; where a judge rates more than once, the mapping {mapping.mapping} must say which "
        "column is judge_replicate"
    )
    hint = "" if told else unsaid
    more = f" (and {int(double.sum()) - 1} more)" if double.sum() > 1 else ""
    lines = file.lines[second], file.lines[first]
    raise InputError(
        f"{file.name}, line {lines[0]}: expected each rating once, {what} is on line {lines[1]}, "
        f"too{more}{hint}"
    )


def _measures(ratings: pd.DataFrame, measures: Fields, mapping: Mapping) -> pd.DataFrame | None:
    if mapping.repeated is None:
        return None
    condition = mapping.repeated.condition
    facts = ratings[[mapping.repeated.subject]]
    facts = facts.assign(
        **{condition: ratings["arm" if condition == "arm" else FACTOR + condition]}
    )
    return facts.assign(**{name: values.to_numpy() for name, values in measures.items()})
