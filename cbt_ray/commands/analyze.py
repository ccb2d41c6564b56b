"""Analyze: the statistics on any table of ratings, whose columns a mapping declares.

Needs no study file and no store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cbt_ray.analysis.document import to_json
from cbt_ray.analysis.scores import FACTOR
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.commands.delivery import Delivery
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
    from cbt_ray.analysis.table.mapped import Mapped
    from cbt_ray.analysis.table.mapping import Mapping as Columns

NO_TRANSCRIPTS = "a table of ratings holds no transcripts"
WITHOUT = {"detectors": NO_TRANSCRIPTS, "stop_rules": NO_TRANSCRIPTS}
"""Sections that need more than a table of ratings, and why; they are empty."""


def analyze(
    table: Path,
    mapping: str,
    folder: Path,
    fields: Mapping[str, Any],
    say: Callable[[str], object],
    *,
    report: bool = True,
) -> Result:
    """Read, analyse, and write analysis.json, tables/*.csv and report.html.

    Answers what analysis.json is made of.

    `fields` replaces fields of the analysis block. Raises InputError on what cannot be read, before
    anything is written.
    """
    from cbt_ray.analysis.table.mapped import read_table

    columns = load_mapping(mapping)
    block = _block(columns, fields)
    read = read_table(table, columns)
    settings = settings_of(block, columns, read, asked="judge" in fields)
    delivery = Delivery(folder, "analyze")
    delivery.check()
    for notice in read.notices:
        say(f"{table}: {notice}")
    say(
        f"{table}: {read.rows} ratings, {len(read.scores.items)} items, {read.absent} scheduled "
        "sessions without a rating"
    )
    result = _analysed(table, columns, read, settings)
    files = _files(result, read.scores) | (
        {"report.html": _report(table, columns, result)} if report else {}
    )
    delivery.hand_over(files)
    say(f"written: {folder / 'analysis.json'}, {folder / 'tables'}")
    if report:
        say(f"report: {folder / 'report.html'}")
    return result


def _block(columns: Columns, fields: Mapping[str, Any]) -> Analysis:
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
    lowest, highest = (int(end) if end == int(end) else end for end in columns.range)
    return Settings(
        **{"contrasts": columns.contrasts, **shared, "lowest": lowest, "highest": highest},
        items=tuple(read.scores.items),
        titles=read.titles,
        arms=tuple(_arms(read.scores.ratings, columns)),
    )


def _arms(ratings: pd.DataFrame, columns: Columns) -> list[str]:
    """Arms in the mapping's order of levels, else as the table has them."""
    arms = ratings.drop_duplicates("arm")
    places = {
        name: {level: place for place, level in enumerate(levels)}
        for name, levels in columns.factors.items()
    }
    last = len(arms)

    def place(row: Any) -> list[int]:
        return [known.get(row[FACTOR + name], last) for name, known in places.items()]

    return [str(row["arm"]) for row in sorted(arms.to_dict("records"), key=place)]


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


def _analysed(table: Path, columns: Columns, read: Mapped, settings: Settings) -> Result:
    from cbt_ray.analysis import analyse
    from cbt_ray.analysis.declared import notices, standing
    from cbt_ray.analysis.effect.repeated import repeated
    from cbt_ray.analysis.judge.robustness import robustness

    declared = standing([], "", {}, None, imported=True)
    beside: dict[str, Any] = {
        **{section: [] for section in WITHOUT},
        "declared": {**declared, "notices": notices(declared)},
        "robustness": robustness([], read.scores, settings, Judge(endpoint="none")),
    }
    asked = columns.repeated
    if asked is not None and read.measures is not None:
        conditions = settings.arms if asked.condition == "arm" else columns.factors[asked.condition]
        beside["repeated"] = repeated(
            read.measures,
            asked.subject,
            asked.condition,
            list(asked.measures),
            conditions=conditions,
            titles=asked.measures,
            level=settings.level,
        )
    result = analyse(read.scores, settings, beside=beside)
    published = _claims(columns, result, read.scores)
    return replace(result, **published, table=_source(table, columns, read))


def _claims(columns: Columns, result: Result, scores: Scores) -> dict[str, Any]:
    """The claims table, where claims were published on this very table."""
    from cbt_ray.analysis.claims.claims import claims, counts
    from cbt_ray.analysis.claims.claims_file import load_claims

    if columns.claims is None:
        return {
            "claims": [],
            "claims_source": {
                "reason": f"the mapping {columns.mapping} names no claims that were published on "
                "its table"
            },
        }
    file = load_claims(columns.claims)
    rows = claims(result, scores, file)
    sources = {name: source.model_dump() for name, source in file.sources.items()}
    head = {
        "paper": file.paper,
        "url": file.url,
        "not_had": " ".join(file.not_had.split()),
        "sources": sources,
    }
    return {"claims": rows, "claims_source": {"reason": None, **head, "counts": counts(rows)}}


def _source(table: Path, columns: Columns, read: Mapped) -> dict[str, Any]:
    """What was read, and by what."""
    declared = columns.model_dump(mode="json", exclude_defaults=True)
    facts = {"file": table.name, "sha256": read.sha256, "rows": read.rows, "absent": read.absent}
    facts |= {"notices": list(read.notices)}
    return {**facts, "cbt_ray": version("cbt-ray"), "mapping": declared, "without": WITHOUT}


def _files(result: Result, scores: Scores) -> dict[str, bytes]:
    """analysis.json and the tables; one without rows is not written."""
    text = json.dumps(to_json(result), indent=1, ensure_ascii=False, allow_nan=False)
    files = {
        "analysis.json": f"{text}\n".encode(),
        "tables/scores.csv": csv_of_frame(flat_scores(scores)),
    }
    return files | {f"tables/{name}.csv": csv_of(rows) for name, rows in tables(result) if rows}


def flat_scores(scores: Scores) -> pd.DataFrame:
    """The ratings as `cbt-ray export` writes them, so that they can be read again without a
    mapping.
    """
    import numpy as np

    from cbt_ray.analysis.scores import FLAG, ITEM

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


def tables(result: Result) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name -> rows of the tables beside analysis.json; nothing is in them that is not in there."""
    yield (
        "arms",
        [
            {name: value for name, value in row.items() if name != "items"}
            for row in result["scores"]
        ],
    )
    yield (
        "items",
        [
            {"arm": row["arm"], "item": item, **summary}
            for row in result["scores"]
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
    measures = (result.get("repeated") or {}).get("measures", [])
    for part in ("means", "pairs"):
        yield (
            f"repeated_{part}",
            [
                {"measure": measure["measure"], **row}
                for measure in measures
                for row in measure[part]
            ],
        )
    yield "claims", result["claims"]


def _report(table: Path, columns: Columns, result: Result) -> bytes:
    from cbt_ray.report import Provenance, ReportData, render

    data = ReportData(
        study=table.stem,
        seed=None,
        analysis=result,
        description=columns.description,
        provenance=Provenance(versions=versions(), digests={table.name: result["table"]["sha256"]}),
    )
    return render(data, "none").html.encode()
