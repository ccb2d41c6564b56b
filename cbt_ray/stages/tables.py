"""Tables: what the report's numbers were computed from, as CSV and JSON in the store beside the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cbt_ray.work.bench import Bench

FOLDER = "tables"


def write_tables(bench: Bench, rows: Sequence[dict[str, Any]], analysis: Mapping[str, Any]) -> None:
    """Write scores, contrasts and analysis.json to `<study>/tables/`, over those of another version of the study."""
    families = analysis["contrasts"].values()
    contrasts = [{"family": family["family"], **row} for family in families for row in family["rows"]]
    for name, table in {"scores": scores_of(rows), "contrasts": contrasts}.items():
        bench.store.replace(f"{bench.study.study}/{FOLDER}/{name}.csv", csv_of(table).encode())
    document = json.dumps(analysis, indent=1, ensure_ascii=False)
    bench.store.replace(f"{bench.study.study}/{FOLDER}/analysis.json", document.encode())


def scores_of(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of scores, flat: one column an item, flags as words."""
    return [_flat(row) for row in rows]


def csv_of(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV; what is itself a list or a mapping is left out."""
    fields = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, list | dict)))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    items = {f"item_{name}": score for name, score in row["items"].items()}
    return {**{name: value for name, value in row.items() if name != "items"}, "flags": " ".join(row["flags"]), **items}
