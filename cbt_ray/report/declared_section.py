"""Section "What was declared": when, and what was changed since."""

from __future__ import annotations

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.declared import Change, Standing
from cbt_ray.report.at import At
from cbt_ray.report.part import Pairs, Part, Section, Text
from cbt_ray.report.prose import capital, text, words
from cbt_ray.report.table import Column, Table, column, tabulate

TITLE = "What was declared"


def declared(analysis: Analysis) -> Section:
    """What was declared, when, and what is post hoc."""
    found = analysis.declared
    if found is None:
        nothing = Text("Nothing was declared: every number is post hoc.", "empty")
        return Section("declared", TITLE, [nothing])
    parts: list[Part] = [Pairs(_facts(found))]
    if found.reason:
        parts.append(Text(f"{capital(found.reason)}."))
    if found.changed:
        parts.append(_changed(analysis))
    return Section("declared", TITLE, parts)


def _facts(found: Standing) -> dict[str, str]:
    return {
        "declared at": found.declared_at or "never",
        "first rating at": found.first_rating_at or "unknown",
        "hash": text(found.hash),
        "post hoc": ", ".join(map(words, found.post_hoc)) or "nothing",
    }


def _changed(analysis: Analysis) -> Table:
    columns: list[Column[Change]] = [
        column("Field", str, lambda row: row.field),
        column("Declared", text, lambda row: row.declared, prose=True),
        column("Now", text, lambda row: row.now, prose=True),
    ]
    place = ("t-changed", "Fields changed after the first rating")
    rows = At(analysis).each(lambda found: found.declared.changed if found.declared else ())
    return tabulate(place, rows, columns)
