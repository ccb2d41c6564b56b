"""A document from outside: JSON where its name says so, which a program wrote and may be large.

Else YAML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.reading.json_text import read_json
from cbt_ray.reading.yaml_text import read_yaml


def read_document(file: Path, name: str | None = None) -> Any:
    """The value of a file of either format. Raises InputError, one line."""
    return read_json(file, name) if file.suffix == ".json" else read_yaml(file, name)


def read_fields(file: Path, name: str | None = None) -> dict[Any, Any]:
    """A document that is a mapping of fields. Raises InputError, one line."""
    value = read_document(file, name)
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise InputError(f"{name or file}: expected a mapping of fields, found {found}")
    return value
