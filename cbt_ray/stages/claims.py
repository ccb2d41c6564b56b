"""Claims that were published on ratings which a study imported, recomputed from these ratings.

A claims file speaks of the table of scores as it was published; so the ratings are analysed as that
table, whatever the study file calls and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from cbt_ray.analysis.claims.verdict import Claims
from cbt_ray.analysis.table.mapping import Mapping, load_mapping

if TYPE_CHECKING:
    from cbt_ray.analysis import ScoreRow
    from cbt_ray.study.imported import Imported


def claims_of(imported: Imported | None, rows: Iterable[ScoreRow]) -> Claims | None:
    """The claims with their verdicts, or why there are none; None where nobody published any."""
    from cbt_ray.analysis import Scores, Settings, analyse
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
        reason = f"they were made on {file.ratings} ratings, of which {rated} are here"
        return Claims(paper=file.paper, url=file.url, reason=reason)
    scores = Scores.of(published)
    lowest, highest = (int(end) for end in columns.range)
    settings = Settings(
        judge=str(who),
        items=tuple(columns.items),
        titles=columns.titles,
        lowest=lowest,
        highest=highest,
        arms=tuple(map("-".join, product(*columns.factors.values()))),
        contrasts=columns.contrasts,
    )
    return claims(analyse(scores, settings), scores, file)


def _as_published(rows: Sequence[ScoreRow], columns: Mapping) -> list[ScoreRow]:
    """The rows with the table's names of judge, factors and arms; only those of its arms."""
    known = {
        factor: {level.casefold(): level for level in levels}
        for factor, levels in columns.factors.items()
    }
    found = []
    for row in rows:
        own = {name: levels.get(row.factors.get(name, "")) for name, levels in known.items()}
        levels = {name: level for name, level in own.items() if level is not None}
        if levels.keys() == known.keys() and set(columns.items) >= set(row.items):
            arm, judge = "-".join(levels.values()), str(columns.constants["judge"])
            found.append(replace(row, arm=arm, factors=levels, judge=judge))
    return found
