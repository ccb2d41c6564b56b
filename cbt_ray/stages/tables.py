"""Tables: what the report's numbers were computed from, as CSV and JSON in the store beside the
page. All CSV is written here.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from cbt_ray.analysis.document import to_json
from cbt_ray.reading.cell import escaped
from cbt_ray.work.bench import Bench

if TYPE_CHECKING:
    import pandas as pd

    from cbt_ray.analysis import Analysis, ScoreRow

FOLDER = "tables"


def write_tables(bench: Bench, rows: Iterable[ScoreRow], analysis: Analysis) -> None:
    """Write scores, contrasts and analysis.json to `<study>/tables/`, over those of another version
    of the study.
    """
    contrasts = [
        {"family": family.family, **to_json(row)}
        for family in vars(analysis.contrasts).values()
        for row in family.rows
    ]
    for name, table in {"scores": scores_of(rows), "contrasts": contrasts}.items():
        bench.store.replace(f"{bench.study.study}/{FOLDER}/{name}.csv", csv_of(table))
    document = json.dumps(to_json(analysis), indent=1, ensure_ascii=False)
    bench.store.replace(f"{bench.study.study}/{FOLDER}/analysis.json", document.encode())


def scores_of(rows: Iterable[ScoreRow]) -> list[dict[str, object]]:
    """Rows of scores, flat: one column a factor and an item, flags as words."""
    return [_flat(row) for row in rows]


def csv_of(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Rows as CSV in UTF-8.

    A mapping in a row becomes columns with dotted names, what is not there an empty cell.
    """
    flat = [dict(_dotted(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return _written(names, ([_cell(row.get(name)) for name in names] for row in flat))


def csv_of_frame(frame: pd.DataFrame) -> bytes:
    """The same of a large table, by its columns; NaN is an empty cell."""
    columns = [_cells(frame[name]) for name in frame.columns]
    return _written([str(name) for name in frame.columns], zip(*columns, strict=True))


def _written(names: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([escaped(name) for name in names])
    writer.writerows(rows)
    return text.getvalue().encode()


def _cells(values: pd.Series) -> list[object]:
    """A column's cells; equal texts are looked at once."""
    known = cache(escaped)
    return [known(value) if isinstance(value, str) else _cell(value) for value in values.tolist()]


def _cell(value: object) -> object:
    """Text so that a spreadsheet shows it as text; a number as it is."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | tuple):
        value = json.dumps(value, ensure_ascii=False)
    return escaped(value) if isinstance(value, str) else value


def _dotted(row: Mapping[str, object], before: str = "") -> Iterable[tuple[str, object]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _flat(row: ScoreRow) -> dict[str, object]:
    apart = ("items", "measures", "unmeasured", "factors")
    return {
        **{name: value for name, value in row.to_json().items() if name not in apart},
        "flags": " ".join(row.flags),
        **{f"factor_{name}": level for name, level in row.factors.items()},
        **{f"item_{name}": score for name, score in row.items.items()},
        **{f"measure_{name}": value for name, value in row.measures.items()},
    }
