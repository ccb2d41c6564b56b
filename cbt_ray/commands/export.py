"""Export: transcripts, dataset, ratings and scores as JSONL and CSV, for other programs. Rejects stand in files of their own.

What was imported is also written as it was published, under `imported/` with its own paths.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.imports.file_text import file_text, path_of
from cbt_ray.imports.repository import GROUPS, SETS
from cbt_ray.stages.analyse import analysis_of
from cbt_ray.stages.dataset import fetch_dataset
from cbt_ray.stages.tables import csv_of, scores_of
from cbt_ray.study.imported import OWN_JUDGE
from cbt_ray.unit import Key, Status, Unit
from cbt_ray.work.bench import Bench

IMPORTED = "imported"


def export(bench: Bench, folder: Path, say: Callable[[str], object]) -> None:
    """Write everything that is done so far into a folder, over what lies there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
    except OSError as error:
        raise InputError(f"--to: expected a folder that can be written, {folder} is none ({error.strerror})") from None
    for name, keys in (("courses", bench.keys.courses()), ("sessions", bench.keys.sessions())):
        units = list(_units(bench, keys))
        done = [unit for unit in units if unit.status is Status.DONE]
        _jsonl(folder / f"{name}.jsonl", ({"key": str(unit.key), **unit.content} for unit in done))
        _csv(folder / f"{name}.csv", [row for unit in done for row in _turns(unit)])
        rejected = [unit for unit in units if unit.status is Status.REJECTED]
        _jsonl(folder / f"{name}.rejected.jsonl", ({"key": str(u.key), "reason": u.reason, **u.content} for u in rejected))
        say(f"{name}: {len(done)} done, {len(rejected)} rejected")
    _imported(bench, folder / IMPORTED, say)
    ratings = list(_units(bench, [*bench.keys.ratings(), *bench.keys.imported_ratings()]))
    _jsonl(folder / "ratings.jsonl", ({"key": str(u.key), "status": u.status, "reason": u.reason, **u.content} for u in ratings))
    _csv(folder / "ratings.csv", [row for unit in ratings for row in _items(unit)])
    say(f"ratings: {len(ratings)}")
    analysis = next(iter(_units(bench, [bench.keys.analysis()])), None)
    if analysis is not None:
        _csv(folder / "scores.csv", scores_of(analysis.content["rows"]))
        (folder / "analysis.json").write_text(json.dumps(analysis_of(bench, analysis), indent=1, ensure_ascii=False))
    else:
        say("analysis: owed")
    fetch_dataset(bench, folder / "dataset")
    say(f"exported to {folder}")


def _imported(bench: Bench, folder: Path, say: Callable[[str], object]) -> None:
    """Write the files that units were imported from, made anew of the units."""
    profiles = [bench.keys.profile(number) for number in range(1, bench.study.patients.training.count + 1)]
    keys = [key for key in (*profiles, *bench.keys.courses(), *bench.keys.sessions()) if bench.keys.is_imported(key)]
    written = 0
    for unit in _units(bench, keys):
        path = path_of(unit.content)
        if path is None or path.is_absolute() or ".." in path.parts:
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(file_text(unit.content))
        written += 1
    if written:
        say(f"imported: {written} files as they were published")


def _clear(folder: Path) -> None:
    """Remove what an earlier export wrote: a folder holds one version of a study."""
    for name in (SETS, GROUPS):
        shutil.rmtree(folder / IMPORTED / name, ignore_errors=True)
    names = ("courses", "sessions", "ratings", "scores", "analysis")
    for file in (*folder.iterdir(), *folder.glob("dataset/*")):
        if file.is_file() and (file.name.split(".")[0] in names or file.parent.name == "dataset"):
            file.unlink()


def _units(bench: Bench, keys: Sequence[Key]) -> Iterable[Unit]:
    """Those that are there, without what was made from another text than the one that is there now."""
    survey = bench.survey(*{key.stage for key in keys})
    counted = {entry.key for entries in survey.stages.values() for entry in entries if entry.head and not entry.outdated}
    return (unit for _, unit in bench.store.get_many(key for key in keys if key in counted) if unit is not None)


def _turns(unit: Unit) -> list[dict[str, Any]]:
    content = unit.content
    facts = {"key": str(unit.key), "patient": content["patient"], "session": content["number"], "arm": content.get("arm", "")}
    return [{**facts, "turn": n, **turn} for n, turn in enumerate(content["turns"], 1)]


def _items(unit: Unit) -> list[dict[str, Any]]:
    facts = {"key": str(unit.key), "judge": unit.content.get("judge", OWN_JUDGE), "view": unit.content.get("view", "")}
    if unit.status is Status.REJECTED:
        return [{**facts, "item": "", "word": "", "score": "", "justification": "", "reason": unit.reason}]
    return [{**facts, "item": item, **rating} for item, rating in unit.content["items"].items()]


def _jsonl(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _csv(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        file.write_text(csv_of(rows), newline="")
