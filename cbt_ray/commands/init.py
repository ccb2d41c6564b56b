"""A study of one's own: a folder with a study file, prompts and a scale to begin from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cbt_ray.errors import InputError
from cbt_ray.reading import read_text
from cbt_ray.study.block import Name
from cbt_ray.study.schema import study_schema

EXAMPLE = Path(__file__).parents[1] / "own_study"
SCHEMA_FILE = "study.schema.json"


def write_own_study(folder: Path) -> Path:
    """Write the example into a new folder, whose name is that of the study; answers its file.

    Raises InputError where the name is none for a study, or something is there already.
    """
    try:
        name = TypeAdapter(Name).validate_python(folder.name)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"NAME: {said}, found {folder.name!r}") from None
    if folder.exists():
        raise InputError(f"{folder}: expected a new folder, it is there already")
    shutil.copytree(EXAMPLE, folder)
    file = folder / "study.yaml"
    text = read_text(file).replace("study: NAME", f"study: {name}", 1)
    file.write_text(text, encoding="utf-8")
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    return file


def schema_text() -> str:
    """The JSON schema of the study file, as its file holds it."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"
