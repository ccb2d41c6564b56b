"""Somebody's table of ratings as Scores, by a mapping. Column by column, never row by row: 10^6 ratings take seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbt_ray.analysis.scores import FLAG, ITEM, Scores
from cbt_ray.analysis.table.cells import Complaints, by_category, joined, labelled, number, parts, renamed, whole, within, yes
from cbt_ray.analysis.table.csv_file import CsvFile
from cbt_ray.analysis.table.mapping import AMOUNTS, HEARD, NUMBERS, RATED, TEXTS, Mapping
from cbt_ray.analysis.table.scheduled import absent_rows, phases_of
from cbt_ray.errors import InputError
from cbt_ray.study.imported import OWN_JUDGE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]
    Fields = dict[str, pd.Series]

EMPTY = "no_score"
"""Why a row is unrated that holds neither a score nor a reason."""
DEFAULTS: dict[str, str | int | None] = {
    **{"variant": "", "phase": "", "view": "plain", "judge": OWN_JUDGE, "kind": "model", "flags": ""},
    **{"reason": None, "stop_reason": None, "replicate": 1, "session": 1, "judge_replicate": 1},
    **dict.fromkeys(AMOUNTS, 0),
}
MAY_BE_EMPTY = ("reason", "stop_reason", "phase", "flags")
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


def read_table(path: Path, mapping: Mapping) -> Mapped:
    """Read a CSV file. Raises InputError, one line, on a column or cell that is not as the mapping says."""
    import pandas as pd

    file, complaints = CsvFile(path, mapping.separator, mapping.missing), Complaints()
    columns = _items(file, mapping)
    table = _load(file, mapping, columns)
    fields = _fields(table, mapping, complaints)
    items = {
        item: within(number(table[name], name, complaints), mapping.range, name, complaints) for item, name in columns.items()
    }
    total = None if mapping.total == "sum" else number(table[mapping.total], mapping.total, complaints)
    measured = mapping.repeated.measures if mapping.repeated else ()
    measures = {name: number(table[name], name, complaints) for name in measured}
    rated = yes(fields.pop(RATED), mapping.columns[RATED], complaints) if RATED in fields else None
    _check_kinds(fields, mapping, complaints)
    complaints.check(file)
    ratings = _ratings(fields, items, total, rated, mapping, len(table))
    _check_once(ratings, file, mapping, told="judge_replicate" in fields)
    absent = absent_rows(ratings, mapping)
    titles = {item: mapping.titles.get(item) or item.replace("_", " ").capitalize() for item in columns}
    whole_table = pd.concat([ratings, absent], ignore_index=True) if len(absent) else ratings
    return Mapped(Scores(whole_table), titles, _measures(ratings, measures, mapping), len(ratings), len(absent))


def _items(file: CsvFile, mapping: Mapping) -> dict[str, str]:
    """Item -> column; a table of totals has one item, the total."""
    prefix = mapping.item_prefix
    if prefix is None:
        return mapping.item_columns or {"total": mapping.total}
    found = {name.removeprefix(prefix): name for name in file.header if name.startswith(prefix) and name != prefix}
    if not found:
        named = f"item_prefix of the mapping {mapping.mapping}"
        raise InputError(f"{file.path}: expected columns that begin with {prefix!r} ({named}), there are none")
    return found


def _load(file: CsvFile, mapping: Mapping, items: dict[str, str]) -> pd.DataFrame:
    """The columns that the mapping names: texts as categories, numbers as the file has them."""
    spared = {mapping.columns[name] for name in mapping.optional if name in mapping.columns}
    absent = [column for column in mapping.where if column not in file.header and column not in spared]
    if absent:
        known = ", ".join(file.header[:20]) + (", ..." if len(file.header) > 20 else "")
        named = f"which {mapping.where[absent[0]]} of the mapping {mapping.mapping} names"
        raise InputError(f"{file.path}: column {absent[0]!r} is missing, {named}; the table has {known}")
    text = {column for name, column in mapping.columns.items() if name in (*TEXTS, RATED)}
    text |= {part.column for part in mapping.patterns}
    wanted = text | {*mapping.where, *items.values()}
    return file.read([name for name in file.header if name in wanted], text & set(file.header))


def _fields(table: pd.DataFrame, mapping: Mapping, complaints: Complaints) -> Fields:
    """Every field that the table has: texts as categories, numbers as float."""
    found = {name: (column, table[column]) for name, column in mapping.columns.items() if column in table}
    for part in mapping.patterns:
        own = parts(table[part.column], part.pattern, part.column, complaints)
        found |= {name: (part.column, values) for name, values in own.items()}
    return {name: _field(name, column, values, mapping, complaints) for name, (column, values) in found.items()}


def _field(name: str, column: str, values: pd.Series, mapping: Mapping, complaints: Complaints) -> pd.Series:
    if name == HEARD:
        return number(values, column, complaints)
    if name in NUMBERS or name in AMOUNTS:
        numbers = number(values, column, complaints)
        return whole(numbers, 0 if name in AMOUNTS else 1, column, name, complaints)
    if name not in MAY_BE_EMPTY:
        complaints.add(values.isna().to_numpy(), column, lambda _: f"expected a value for {name}, found an empty cell")
    if name in mapping.values:
        return renamed(values, mapping.values[name], column, name, complaints)
    return labelled(values.cat.codes.to_numpy(), [str(value) for value in values.cat.categories])


def _check_kinds(fields: Fields, mapping: Mapping, complaints: Complaints) -> None:
    if "kind" in fields:
        wrong = by_category(fields["kind"], lambda value: value not in ("model", "human"), False)
        said = fields["kind"]
        complaints.add(wrong, mapping.where_of("kind"), lambda row: f"expected model or human for kind, found {said.iloc[row]!r}")


# --- the table of ratings


def _ratings(
    fields: Fields, items: Fields, total: pd.Series | None, rated: Array | None, mapping: Mapping, rows: int
) -> pd.DataFrame:
    """All columns of Scores.ratings."""
    import numpy as np
    import pandas as pd

    columns = {
        name: fields[name] if name in fields else _same(value, rows)
        for name, value in (DEFAULTS | mapping.constants | fields).items()
    }
    if "arm" not in columns:
        columns["arm"] = joined([columns["model"], columns["variant"]], "-")
    columns.setdefault("model", columns["arm"])
    if mapping.phases and "phase" not in fields:
        columns["phase"] = phases_of(columns["session"], mapping)
    if "session_key" not in columns:
        columns["session_key"] = joined([columns[name] for name in ("arm", "patient", "replicate", "session")], "/")
    scores = np.column_stack([np.empty((rows, 0)), *(series.to_numpy() for series in items.values())])
    sums = scores.sum(axis=1) if total is None else total.to_numpy()
    there = ~np.isnan(sums) | (~np.isnan(scores)).any(axis=1)
    rated = there if rated is None else rated
    flags = _flags(columns.pop("flags"))
    frame: dict[str, Any] = {name: _plain(columns[name], name) for name in (*TEXTS, *NUMBERS, *AMOUNTS) if name in columns}
    frame[HEARD] = _heard(fields, rows)
    frame |= {"reason": _reasons(frame["reason"], rated), RATED: rated, "total": np.where(rated, sums, np.nan)}
    frame |= {ITEM + item: np.where(rated, series.to_numpy(), np.nan) for item, series in items.items()}
    return pd.DataFrame(frame | flags)


def _same(value: Any, rows: int) -> pd.Series:
    """One value in all rows."""
    import numpy as np
    import pandas as pd

    if isinstance(value, int):
        return pd.Series(np.full(rows, float(value)))
    codes = np.full(rows, -1 if value is None else 0, dtype=np.int64)
    return labelled(codes, [] if value is None else [str(value)])


def _plain(values: pd.Series, name: str) -> pd.Series:
    """As Scores holds it: whole numbers or text."""
    return values.astype("int64" if name in NUMBERS or name in AMOUNTS else "str")


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
    return {FLAG + name: by_category(values, lambda cell, name=name: name in cell.split(), False) for name in names}  # type: ignore[misc]


def _check_once(ratings: pd.DataFrame, file: CsvFile, mapping: Mapping, *, told: bool) -> None:
    """Each session is rated once by a judge in a view, unless judge replicates tell its ratings apart."""
    double = ratings.duplicated(list(KEY)).to_numpy()
    if not double.any():
        return
    second = int(double.argmax())
    first = int((ratings[list(KEY)] == ratings.loc[second, list(KEY)]).all(axis=1).to_numpy().argmax())
    key, view, judge, _ = ratings.loc[second, list(KEY)]
    what = f"session {key}, view {view}, judge {judge}"
    unsaid = f"; where a judge rates more than once, the mapping {mapping.mapping} must say which column is judge_replicate"
    hint = "" if told else unsaid
    more = f" (and {int(double.sum()) - 1} more)" if double.sum() > 1 else ""
    raise InputError(
        f"{file.path}, line {file.line(second)}: expected each rating once, {what} stands on line {file.line(first)}{more}{hint}"
    )


def _measures(ratings: pd.DataFrame, measures: Fields, mapping: Mapping) -> pd.DataFrame | None:
    if mapping.repeated is None:
        return None
    facts = ratings[[mapping.repeated.subject, mapping.repeated.condition]]
    return facts.assign(**{name: values.to_numpy() for name, values in measures.items()})
