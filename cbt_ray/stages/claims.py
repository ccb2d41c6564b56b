"""Claims that were published on ratings which a study imported, recomputed from these ratings.

A claims file speaks of the table of scores as it was published; so the ratings are analysed as that
table, whatever the study file calls and compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from cbt_ray.analysis.claims.verdict import Claims
from cbt_ray.analysis.table.mapping import Mapping as Columns
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.count import many

if TYPE_CHECKING:
    from cbt_ray.analysis import ScoreRow, Settings
    from cbt_ray.analysis.effect.repeated import WithinSubjects
    from cbt_ray.study.imported import Imported

Number = float | None


def claims_of(imported: Imported | None, rows: Iterable[ScoreRow]) -> Claims | None:
    """The claims with their verdicts, or why there are none; None where nobody published any."""
    from cbt_ray.analysis import Beside, Scores, Settings, analyse
    from cbt_ray.analysis.claims.claims import claims
    from cbt_ray.analysis.claims.claims_file import load_claims

    columns = load_mapping(imported.mapping) if imported and imported.mapping else None
    if imported is None or columns is None or columns.claims is None:
        return None
    file, who = load_claims(columns.claims), columns.constants["judge"]
    judges = {name for name, judge in imported.judges.items() if judge.who == who}
    published = _as_published([row for row in rows if row.judge in judges], columns)
    rated = sum(row.total is not None for row in published)
    if rated != file.ratings:
        reason = f"they were made on {many(file.ratings, 'rating')}, of which {rated} are here"
        return Claims(paper=file.paper, url=file.url, reason=reason)
    scores = Scores.of(published)
    lowest, highest = (int(end) for end in columns.range)
    settings = Settings(
        judge=str(who),
        items=tuple(columns.items),
        titles=columns.titles,
        lowest=lowest,
        highest=highest,
        arms=_arms(columns),
        contrasts=columns.contrasts,
    )
    beside = Beside(repeated=_repeated(published, columns, settings))
    return claims(analyse(scores, settings, beside=beside), scores, file)


def _arms(columns: Columns) -> tuple[str, ...]:
    """The arms of the published table, in its order."""
    named = columns.values.get("arm")
    return tuple(named.values() if named else map("-".join, product(*columns.factors.values())))


def _as_published(rows: Sequence[ScoreRow], columns: Columns) -> list[ScoreRow]:
    """The rows with the table's names of judge, factors, arms, items and measures; only those of
    its arms and of its scale.
    """
    known = {
        factor: {level.casefold(): level for level in levels}
        for factor, levels in columns.factors.items()
    }
    found = []
    for row in rows:
        own = {name: levels.get(row.factors.get(name, "")) for name, levels in known.items()}
        levels = {name: level for name, level in own.items() if level is not None}
        items, measures = _items(row, columns), _plain(row.measures)
        if levels.keys() != known.keys() or (row.items and not items):
            continue
        arm = row.arm if "arm" in columns.values else "-".join(levels.values())
        named = replace(row, arm=arm, factors=levels, judge=str(columns.constants["judge"]))
        total = _total(row, items)
        found.append(replace(named, items=items, measures=measures, total=total))
    return found


def _items(row: ScoreRow, columns: Columns) -> dict[str, Number]:
    """The table's items, each of which is an item or a measure of the study's; none where the row
    lacks one.
    """
    known = {**_plain(row.measures), **row.items}
    named = {
        item: item if item in known else _folded(column)
        for item, column in columns.item_columns.items()
    }
    if not set(named.values()) <= set(known):
        return {}
    return {item: known[name] for item, name in named.items()}


def _total(row: ScoreRow, items: Mapping[str, Number]) -> Number:
    """The sum of the table's items, as it was published."""
    scores = [score for score in items.values() if score is not None]
    if not items:
        return row.total
    return sum(scores) if len(scores) == len(items) else None


def _plain(measures: Mapping[str, Number]) -> dict[str, Number]:
    return {_folded(name): value for name, value in measures.items()}


def _folded(name: str) -> str:
    """A measure as a published table would name its column: `tes.total` is `tes_total`."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold())


def _repeated(
    rows: Sequence[ScoreRow], columns: Columns, settings: Settings
) -> WithinSubjects | None:
    """What was compared within patients; None where the table asks for nothing."""
    import pandas as pd

    from cbt_ray.analysis.effect.repeated import repeated

    asked = columns.repeated
    if asked is None or asked.condition != "arm":
        return None
    frame = pd.DataFrame(
        [
            {"patient": row.patient, "arm": row.arm}
            | {name: row.measures.get(name) for name in asked.measures}
            for row in rows
        ]
    )
    return repeated(
        frame,
        asked.subject,
        asked.condition,
        list(asked.measures),
        conditions=settings.arms,
        titles=asked.measures,
        level=settings.level,
    )
