"""Data: transcripts, dataset, ratings and scores as JSONL and CSV, for other programs.

Rejects stand in files of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cbt_ray.analysis.document import to_json
from cbt_ray.analysis.scores import ScoreRow
from cbt_ray.commands.delivery import Delivery
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.stages.analyse import analysis_of
from cbt_ray.stages.searched import best_of, candidates_of
from cbt_ray.stages.tables import csv_of, scores_of
from cbt_ray.store import Blob
from cbt_ray.training.dataset import NAMES
from cbt_ray.training.elsewhere import Elsewhere, dataset_card, dataset_info
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.rating_id import parse_rating_id


def write_data(bench: Bench, folder: Path, say: Callable[[str], object]) -> None:
    """Hand over everything that is done so far.

    What this command wrote earlier makes room, and nothing else does.
    """
    owners: dict[str, Key] = {}
    delivery = Delivery(folder, "data", partial(_fetch, bench, owners))
    delivery.check()
    files: dict[str, bytes | Blob] = {}
    profiles = _profiles(bench)
    for name, keys in (("courses", bench.keys.courses()), ("sessions", bench.keys.sessions())):
        units = list(counted(bench, keys))
        done = [unit for unit in units if unit.status is Status.DONE]
        files |= _jsonl(f"{name}.jsonl", (_line(unit, profiles) for unit in done))
        files |= _csv(f"{name}.csv", [row for unit in done for row in turns_of(unit)])
        rejected = [unit for unit in units if unit.status is Status.REJECTED]
        files |= _jsonl(
            f"{name}.rejected.jsonl",
            ({**_named(unit), "reason": unit.reason, **unit.content} for unit in rejected),
        )
        say(f"{name}: {len(done)} done, {len(rejected)} rejected")
    ratings = list(counted(bench, [*bench.keys.ratings(), *bench.keys.imported_ratings()]))
    files |= _jsonl(
        "ratings.jsonl",
        (
            {**_named(unit), "status": unit.status, "reason": unit.reason, **unit.content}
            for unit in ratings
        ),
    )
    files |= _csv("ratings.csv", [row for unit in ratings for row in items_of(unit)])
    files |= _csv("measures.csv", [row for unit in ratings for row in measures_of(unit)])
    say(f"ratings: {len(ratings)}")
    analysis = next(iter(counted(bench, [bench.keys.analysis()])), None)
    if analysis is not None:
        files |= _csv("scores.csv", scores_of(map(ScoreRow.from_json, analysis.content["rows"])))
        files["analysis.json"] = json.dumps(
            to_json(analysis_of(bench, analysis)), indent=1, ensure_ascii=False
        ).encode()
    else:
        say("analysis: owed")
    for folder_of, key in _datasets(bench):
        dataset = bench.store.get(key)
        parts = dataset.content["files"] if dataset else {}
        blobs = {f"{folder_of}/{name}": Blob.from_json(blob) for name, blob in parts.items()}
        owners |= {blob.path: key for blob in blobs.values()}
        files |= {name: blob for name, blob in blobs.items() if blob.size}
        splits = [name for name in NAMES if f"{folder_of}/{name}.jsonl" in files]
        if dataset and splits:
            name = f"{bench.study.study}, {folder_of}"
            card = dataset_card(name, bench.study.language, splits)
            files[f"{folder_of}/README.md"] = card
            more = _elsewhere(bench, dataset, splits)
            files |= {f"{folder_of}/{name}": data for name, data in more.items()}
    delivery.hand_over(files)
    say(f"written to {folder}")


def _datasets(bench: Bench) -> Iterator[tuple[str, Key]]:
    """Each dataset with the folder that it is handed over in."""
    judges = {f"ratings-{model}": key for model, key in bench.keys.learners.items()}
    for form, key in (bench.keys.datasets() | judges).items():
        yield f"dataset-{form}" if form else "dataset", key


def _elsewhere(bench: Bench, dataset: Unit, splits: Sequence[str]) -> dict[str, bytes]:
    """For other trainers, each model that is trained on whole sessions of a dataset."""
    made = [
        one
        for one in bench.keys.models
        if one.tuned and not one.seed and dataset.key in bench.keys.inputs(bench.keys.adapter(one))
    ]
    plain = [one for one in made if bench.study.recipe_of(one).method == "sft"]
    if dataset.content["format"] != "session" or not plain:
        return {}
    files = {"dataset_info.json": dataset_info(splits)}
    for one in plain:
        best = best_of(candidates_of(bench, one))
        template = ChatTemplate(**best.adapter.content["template"]) if best else None
        recipe = best.recipe if best else bench.study.recipe_of(one)
        files |= Elsewhere(one.model, recipe, splits, template).files()
    return files


def _fetch(bench: Bench, owners: Mapping[str, Key], blob: Blob, file: Path) -> None:
    bench.store.fetch_blob(blob, file, owners[blob.path])


def _profiles(bench: Bench) -> dict[str, dict[str, Any]]:
    """Who the training patients are, by their ids."""
    units = counted(bench, list(bench.keys.course_chains()))
    return {
        unit.key.id: {name: unit.content[name] for name in ("narrative", "characteristics")}
        for unit in units
        if unit.status is Status.DONE
    }


def _line(unit: Unit, profiles: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A session as `import` takes it; the first of a course takes the profile along."""
    course = unit.key.stage is Stage.COURSES
    profile = profiles.pop(unit.content["patient_id"], None) if course else None
    own = {"profile": profile} if profile else {}
    return {**_named(unit), **unit.content, **_origin(unit), **own}


def _origin(unit: Unit) -> dict[str, Any]:
    """What an import was told of where a session is from."""
    said = unit.provenance.get("imported", {})
    return {name: said[name] for name in ("source", "remarks") if name in said}


def counted(bench: Bench, keys: Sequence[Key]) -> Iterable[Unit]:
    """The units that are there, without what was made from another text than the one that is there
    now.
    """
    survey = bench.survey(*{key.stage for key in keys})
    counted = {
        entry.key
        for entries in survey.stages.values()
        for entry in entries
        if entry.head and not entry.outdated
    }
    return (
        unit
        for _, unit in bench.store.get_many(key for key in keys if key in counted)
        if unit is not None
    )


def _named(unit: Unit) -> dict[str, str | int]:
    """Key and patient's id: p01, p02, ... or the simulated patient's name in a key, since several
    patients may have one name; of a simulated session the replicate, too.
    """
    first, second, *others = unit.key.id.split(".")
    if unit.key.stage is Stage.COURSES:
        return {"key": str(unit.key), "patient_id": first}
    chain = re.match(r"r(\d+)", others[0]) if others else None
    return {
        "key": str(unit.key),
        "patient_id": second,
        **({"replicate": int(chain[1])} if chain and unit.key.stage is Stage.SESSIONS else {}),
    }


def turns_of(unit: Unit) -> list[dict[str, Any]]:
    """What was said in a session, a row a turn."""
    content = unit.content
    facts = {
        **_named(unit),
        "patient": content["patient"],
        "session": content["number"],
        "arm": content.get("arm", ""),
    }
    return [  # what is not said is in the JSON lines alone
        {**facts, "turn": n, "speaker": turn["speaker"], "text": turn["text"]}
        for n, turn in enumerate(content["turns"], 1)
    ]


def _whose(unit: Unit) -> dict[str, Any]:
    judge = parse_rating_id(unit.key.id)[1]
    return {**_named(unit), "judge": judge, "view": unit.content.get("view", "")}


def measures_of(unit: Unit) -> list[dict[str, Any]]:
    """A rating's measures, a row each."""
    found = unit.content.get("measures", {})
    return [{**_whose(unit), "measure": name, **value} for name, value in found.items()]


def items_of(unit: Unit) -> list[dict[str, Any]]:
    """A rating's items, a row each; one without items where it was rejected."""
    facts = _whose(unit)
    if unit.status is Status.REJECTED:
        return [
            {
                **facts,
                "item": "",
                "word": "",
                "score": "",
                "justification": "",
                "reason": unit.reason,
            }
        ]
    return [{**facts, "item": item, **rating} for item, rating in unit.content["items"].items()]


def _jsonl(name: str, rows: Iterable[dict[str, Any]]) -> dict[str, bytes]:
    """No file without rows, which other programs take for a broken one."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return {name: data} if data else {}


def _csv(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    return {name: csv_of(rows)} if rows else {}
