"""Analyze: the statistics on any table of ratings, whose columns a mapping declares.

Needs no study file and no store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from cbt_ray.analysis.document import to_json
from cbt_ray.analysis.scores import FACTOR, ITEM
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.commands.delivery import Delivery
from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.stages.analyse import versions
from cbt_ray.stages.tables import csv_of, csv_of_frame
from cbt_ray.study.complaint import refusal
from cbt_ray.study.contrast import unanswered
from cbt_ray.study.model import Analysis
from cbt_ray.study.rater import Judge

if TYPE_CHECKING:
    import pandas as pd

    from cbt_ray.analysis import Analysis as Result
    from cbt_ray.analysis import Scores, Settings
    from cbt_ray.analysis.claims.verdict import Claims
    from cbt_ray.analysis.effect.repeated import (
        ComparedMeasure,
        ConditionPair,
        WithinSubjects,
    )
    from cbt_ray.analysis.effect.subject_model import ConditionMean
    from cbt_ray.analysis.table.mapped import Mapped, ReadTable
    from cbt_ray.analysis.table.mapping import Mapping as Columns

Row = dict[str, JsonValue]
NO_TRANSCRIPTS = "a table of ratings holds no transcripts"
WITHOUT = {"detectors": NO_TRANSCRIPTS, "stop_rules": NO_TRANSCRIPTS}
"""Sections that need more than a table of ratings, and why; they are empty."""


def analyze(
    table: Path,
    mapping: str,
    folder: Path,
    fields: Mapping[str, object],
    say: Callable[[str], object],
    *,
    report: bool = True,
) -> Result:
    """Read, analyse, and write analysis.json, tables/*.csv and report.html.

    Answers what analysis.json is made of.

    `fields` replaces fields of the analysis block. Raises InputError on what cannot be read, before
    anything is written.
    """
    columns, read, settings = read_for(table, mapping, fields)
    delivery = Delivery(folder, "analyze")
    delivery.check()
    for notice in read.notices:
        say(f"{table}: {notice}")
    say(
        f"{table}: {many(read.rows, 'rating')}, {many(len(read.scores.items), 'item')}, "
        f"{many(read.absent, 'scheduled session')} without a rating"
    )
    result = analysed(table, columns, read, settings)
    files = _files(result, read.scores) | (
        {"report.html": _report(table, columns, result)} if report else {}
    )
    delivery.hand_over(files)
    say(f"written: {folder / 'analysis.json'}, {folder / 'tables'}")
    if report:
        say(f"report: {folder / 'report.html'}")
    return result


def _block(columns: Columns, fields: Mapping[str, object]) -> Analysis:
    """The analysis block: its defaults, what the mapping needs otherwise, what the command line
    says.
    """
    for given, where in (
        (columns.analysis, f"the mapping {columns.mapping}: analysis."),
        (fields, "--set "),
    ):
        try:
            Analysis.model_validate(dict(given))
        except ValidationError as error:
            raise refusal(error, Analysis, where) from None
    own = {"judge": columns.constants["judge"]} if "judge" in columns.constants else {}
    return Analysis.model_validate({**own, **columns.analysis, **fields})


def settings_of(
    block: Analysis, columns: Columns, read: Mapped, *, asked: bool = False
) -> Settings:
    """The settings of an analysis of this table.

    Raises InputError where the judge that was `asked` for rated nothing.
    """
    from cbt_ray.analysis import Settings

    judges = list(read.scores.judges)
    if asked and block.judge is not None and block.judge not in judges:
        raise InputError(f"--set judge: expected one of {', '.join(judges)}, found {block.judge!r}")
    shared = {
        name: getattr(block, name)
        for name in Settings.__dataclass_fields__
        if name in Analysis.model_fields and getattr(block, name) is not None
    }
    _check_contrasts(columns, read)
    return Settings(
        **{"contrasts": columns.contrasts, **shared, **_measured(columns, read)},
        items=tuple(read.scores.items),
        titles=read.titles,
        arms=tuple(_arms(read.scores.ratings, columns)),
    )


def _measured(columns: Columns, read: Mapped) -> dict[str, object]:
    """The settings that say what items and totals are."""
    from cbt_ray.analysis.settings import ItemKind

    kind, items, (low, high) = columns.outcome, read.scores.items, columns.ends
    endless = math.isinf(high)
    if endless:  # the highest that was counted
        high = float(
            read.scores.ratings[[ITEM + item for item in items]].fillna(1).to_numpy().max()
        )
    lowest, highest = (int(end) if end == int(end) else end for end in (low, high))
    found: dict[str, object] = {"lowest": lowest, "highest": highest}
    if kind == "score":
        return found
    size, last = len(items) if columns.total == "sum" else 1, None if endless else high
    own = dict.fromkeys(items, ItemKind(kind, low, last))
    ends = (size * low, None if last is None else size * last)
    return {**found, "kind": kind, "total": ends, "item_kinds": own}


def _arms(ratings: pd.DataFrame, columns: Columns) -> list[str]:
    """Arms in the mapping's order of levels, else as the table has them."""
    arms = ratings.drop_duplicates("arm").set_index("arm")
    places = [
        arms[FACTOR + name].map({level: place for place, level in enumerate(levels)})
        for name, levels in columns.factors.items()
    ]
    ranks = [place.fillna(len(arms)).to_dict() for place in places]
    return sorted(map(str, arms.index), key=lambda arm: [rank[arm] for rank in ranks])


def _check_contrasts(columns: Columns, read: Mapped) -> None:
    """Raise InputError where the table's arms do not answer a contrast of the mapping."""
    from cbt_ray.analysis import Settings
    from cbt_ray.analysis.describe import arms, levels

    known = levels(arms(read.scores.ratings, Settings()))
    problems = [
        f"contrasts.{number}.{problem}"
        for number, contrast in enumerate(columns.contrasts or ())
        for problem in unanswered(contrast, known)
    ]
    if problems:
        raise InputError(f"the mapping {columns.mapping}: {'; '.join(problems)}")


def read_for(
    table: Path, mapping: str, fields: Mapping[str, object]
) -> tuple[Columns, Mapped, Settings]:
    """What an analysis of a table is made of. Raises InputError."""
    from cbt_ray.analysis.table.mapped import read_table

    columns = load_mapping(mapping)
    block = _block(columns, fields)
    read = read_table(table, columns)
    return columns, read, settings_of(block, columns, read, asked="judge" in fields)


def analysed(table: Path, columns: Columns, read: Mapped, settings: Settings) -> Result:
    """The analysis of a table."""
    from cbt_ray.analysis import Beside, analyse
    from cbt_ray.analysis.declared import standing
    from cbt_ray.analysis.judge.robustness import robustness

    beside = Beside(
        robustness=robustness([], read.scores, settings, Judge(endpoint="none")),
        detectors=[],
        stop_rules=[],
        declared=standing([], "", {}, None, imported=True),
        repeated=_repeated(columns, read, settings),
    )
    result = analyse(read.scores, settings, beside=beside)
    claims = _claims(columns, result, read.scores)
    return replace(result, claims=claims, table=_source(table, columns, read))


def _repeated(columns: Columns, read: Mapped, settings: Settings) -> WithinSubjects | None:
    """The measures that the mapping compares within subjects; None where it asks for none."""
    from cbt_ray.analysis.effect.repeated import repeated

    asked = columns.repeated
    if asked is None or read.measures is None:
        return None
    return repeated(
        read.measures,
        asked.subject,
        asked.condition,
        list(asked.measures),
        conditions=settings.arms if asked.condition == "arm" else columns.factors[asked.condition],
        titles=asked.measures,
        level=settings.level,
    )


def _claims(columns: Columns, result: Result, scores: Scores) -> Claims:
    """The claims table, where claims were published on this very table."""
    from cbt_ray.analysis.claims.claims import claims
    from cbt_ray.analysis.claims.claims_file import load_claims
    from cbt_ray.analysis.claims.verdict import Claims

    if columns.claims is None:
        return Claims(
            reason=f"the mapping {columns.mapping} names no claims that were published on its table"
        )
    return claims(result, scores, load_claims(columns.claims))


def _source(table: Path, columns: Columns, read: Mapped) -> ReadTable:
    """What was read, and by what."""
    from cbt_ray.analysis.table.mapped import ReadTable

    return ReadTable(
        table.name,
        read.sha256,
        read.rows,
        read.absent,
        list(read.notices),
        version("cbt-ray"),
        columns.model_dump(mode="json", exclude_defaults=True),
        WITHOUT,
    )


def _files(result: Result, scores: Scores) -> dict[str, bytes]:
    """analysis.json and the tables; one without rows is not written."""
    text = json.dumps(to_json(result), indent=1, ensure_ascii=False, allow_nan=False)
    files = {
        "analysis.json": f"{text}\n".encode(),
        "tables/scores.csv": csv_of_frame(flat_scores(scores)),
    }
    return files | {f"tables/{name}.csv": csv_of(rows) for name, rows in tables(result) if rows}


def flat_scores(scores: Scores) -> pd.DataFrame:
    """The ratings as `cbt-ray data` writes them, so that they can be read again without a
    mapping.
    """
    import numpy as np

    from cbt_ray.analysis.scores import FLAG

    frame = scores.ratings
    words = np.full(len(frame), "", dtype=object)
    for flag in scores.flags:
        words = np.where(frame[FLAG + flag], words + np.where(words == "", "", " ") + flag, words)
    facts = frame[[name for name in frame.columns if not name.startswith((FLAG, ITEM))]].assign(
        flags=words
    )
    facts = facts.rename(columns=lambda name: name.replace(FACTOR, "factor_", 1))
    return facts.join(
        frame[[ITEM + item for item in scores.items]].rename(
            columns=lambda name: name.replace(ITEM, "item_", 1)
        )
    )


def tables(result: Result) -> Iterator[tuple[str, list[Row]]]:
    """Name -> rows of the tables beside analysis.json; nothing is in them that is not in there."""
    arms: list[Row] = to_json(result.scores)
    yield (
        "arms",
        [{name: value for name, value in row.items() if name != "items"} for row in arms],
    )
    yield (
        "items",
        [
            {"arm": row["arm"], "item": item, **summary}
            for row in to_json(result.scores)
            for item, summary in row["items"].items()
        ],
    )
    yield (
        "contrasts",
        [
            {"family": name, **to_json(row)}
            for name, family in vars(result.contrasts).items()
            for row in family.rows
        ],
    )
    measures = result.repeated.measures
    yield "repeated_means", [_of(measure, row) for measure in measures for row in measure.means]
    yield "repeated_pairs", [_of(measure, row) for measure in measures for row in measure.pairs]
    yield "claims", to_json(result.claims.rows if result.claims else [])


def _of(measure: ComparedMeasure, row: ConditionMean | ConditionPair) -> Row:
    return {"measure": measure.measure, **to_json(row)}


def _report(table: Path, columns: Columns, result: Result) -> bytes:
    from cbt_ray.report import Methods, Provenance, ReportData, render

    data = ReportData(
        study=table.stem,
        seed=None,
        analysis=result,
        description=columns.description,
        methods=Methods(scale=columns.scale),
        provenance=Provenance(versions=versions(), digests=_digests(result)),
    )
    return render(data, "none").html.encode()


def _digests(result: Result) -> dict[str, str]:
    return {result.table.file: result.table.sha256} if result.table else {}
