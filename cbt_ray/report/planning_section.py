"""Section "What was declared": the analysis as it was declared before the first rating."""

from __future__ import annotations

from typing import Any

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.report.part import Pairs, Part, Section, Text
from cbt_ray.report.prose import capital, text, words
from cbt_ray.report.table import Column, table


def declared(analysis: Analysis) -> Section:
    """What was declared, when, and what is post hoc."""
    title = "What was declared"
    found = analysis.get("declared")
    if not found:
        return Section(
            "declared", title, [Text("Nothing was declared: every number is post hoc.", "empty")]
        )
    late = found["post_hoc"]
    facts = {
        "declared at": found["declared_at"] or "never",
        "first rating at": found["first_rating_at"] or "unknown",
        "hash": text(found["hash"]),
        "post hoc": "nothing" if not late else ", ".join(map(words, late)),
    }
    parts: list[Part] = [Pairs(facts)]
    if found["reason"]:
        parts.append(Text(f"{capital(found['reason'])}."))
    if found["changed"]:
        columns: list[Column[Any]] = [
            Column("Field", "field"),
            Column("Declared", "declared", text, prose=True),
            Column("Now", "now", text, prose=True),
        ]
        parts.append(
            table(
                analysis,
                ("t-changed", "Fields changed after the first rating"),
                "/declared/changed",
                columns,
            )
        )
    return Section("declared", title, parts)
