"""A study of one's own to begin from: a template, or a copy of one that comes with cbt-ray."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cbt_ray.errors import InputError
from cbt_ray.reading import read_text, read_yaml
from cbt_ray.shipped import PACKAGE, shipped
from cbt_ray.study.block import Name
from cbt_ray.study.schema import study_schema

TEMPLATE = PACKAGE / "own_study"
STUDY_FILE = "study.yaml"
SCHEMA_FILE = "study.schema.json"


def write_own_study(folder: Path, example: str | None = None) -> Path:
    """Write a study into a new folder, whose name is that of the study; answers its file.

    Raises InputError where the name is none for a study, something is there already, or there is no
    such example.
    """
    try:
        name = TypeAdapter(Name).validate_python(folder.name)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"NAME: {said}, found {folder.name!r}") from None
    if folder.exists():
        raise InputError(f"{folder}: expected a new folder, it is there already")
    if example is None:
        shutil.copytree(TEMPLATE, folder)
    else:
        _copy(_example(example), folder)
    file = folder / STUDY_FILE
    file.write_text(_renamed(read_text(file), name), encoding="utf-8")
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    return file


def _renamed(text: str, name: str) -> str:
    """A study file under another name, with its store beside it."""
    text = re.sub(r"^study: \S+", f"study: {name}", text, count=1, flags=re.MULTILINE)
    return re.sub(r"^store: \S+", "store: runs", text, count=1, flags=re.MULTILINE)


def _example(name: str) -> Path:
    """A study file that comes with cbt-ray; raises InputError where there is none of that name."""
    files = {file.stem: file for file in shipped("studies").glob("*.yaml")}
    if name not in files:
        raise InputError(f"--example {name}: expected one of {', '.join(sorted(files))}")
    return files[name]


def _copy(study: Path, folder: Path) -> None:
    """Copy a study file, its prompts and the files that it names: recipes, patients."""
    folder.mkdir(parents=True)
    shutil.copyfile(study, folder / STUDY_FILE)
    document = read_yaml(study)
    if prompts := document.get("prompts"):
        shutil.copytree(study.parent / prompts, folder / prompts)
    for name in _texts(document):
        if name.endswith(".yaml") and (study.parent / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(study.parent / name, folder / name)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, dict | list):
        parts = document.values() if isinstance(document, dict) else document
        for part in parts:
            yield from _texts(part)
    elif isinstance(document, str):
        yield document


def schema_text() -> str:
    """The JSON schema of the study file, as its file holds it."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"
