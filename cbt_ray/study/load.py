"""Read a study file; everything wrong with it becomes one line: file, field, what was expected."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cbt_ray.errors import InputError
from cbt_ray.study.complaint import complaint
from cbt_ray.study.endpoint import SECRET
from cbt_ray.study.study import Study

REFERENCES = (
    ("patients", "training", "characteristics"),
    ("patients", "training", "names"),
    ("patients", "simulated"),
    ("models", "*", "recipe"),
    ("imported",),
)
"""Fields that may name a YAML or JSON file (relative to the study file) in place of standing in it."""


def load_study(path: str | Path, overrides: dict[str, Any] | None = None, without: Collection[str] = ()) -> Study:
    """Read, complete and check a study file.

    `overrides` replaces fields by their dotted names (the command line's --set); of the fields `without` nothing is read.
    Raises InputError, one line.
    """
    file = Path(path)
    document = {name: value for name, value in read_document(file).items() if name not in without}
    files: dict[str, str] = {}
    for where in REFERENCES:
        _follow(file, document, where, (), files)
    for name, value in (overrides or {}).items():
        _override(file, document, name.split("."), value)
    try:
        study = Study.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{file}: {_without_secrets(complaint(error, Study, files), document)}") from None
    study._file = file
    return study


def read_document(file: Path) -> dict[str, Any]:
    """The fields of a study file as they stand there, before anything is checked. Raises InputError, one line."""
    document = _read_yaml(file, str(file))
    if not isinstance(document, dict):
        raise InputError(
            f"{file}: expected a mapping of fields, found {'nothing' if document is None else type(document).__name__}"
        )
    return document


def _read_yaml(file: Path, name: str) -> Any:
    try:
        if file.suffix == ".json":  # which can be large, and the YAML reader is slow
            return json.loads(file.read_text())
        return yaml.load(file.read_text(), Loader=_Strict)  # noqa: S506  a SafeLoader that also refuses a key given twice
    except FileNotFoundError:
        raise InputError(f"{name}: expected a file, there is none") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{name}, line {error.lineno}: expected JSON: {error.msg}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: expected a readable text file ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{name}{line}: expected YAML: {getattr(error, 'problem', error)}") from None


class _Strict(yaml.SafeLoader):
    """A SafeLoader for which a key given twice is an error and not a silent choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _follow(file: Path, node: Any, where: tuple[str, ...], done: tuple[str, ...], files: dict[str, str]) -> None:
    """Replace a file's name by the file's content at one of the REFERENCES, and note it in `files`."""
    if not isinstance(node, dict):
        return
    head, *rest = where
    for name in list(node) if head == "*" else [head]:
        if name not in node:
            continue
        if rest:
            _follow(file, node[name], tuple(rest), (*done, str(name)), files)
        elif isinstance(node[name], str):
            other, field = file.parent / node[name], ".".join((*done, str(name)))
            files[field] = node[name]
            node[name] = _read_yaml(other, f"{file}: {field}: {other}")


def _override(file: Path, node: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        if isinstance(node, dict):
            node = node.setdefault(name, {})
        elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            raise InputError(f"{file}: --set {'.'.join(path)}: no such field")
    if not isinstance(node, dict):
        raise InputError(f"{file}: --set {'.'.join(path)}: no such field")
    node[path[-1]] = value


def _without_secrets(text: str, value: Any) -> str:
    """The text without any of the document's values that look like a key, wherever they stand."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            text = _without_secrets(text, part)
    elif isinstance(value, str) and SECRET.search(value):
        text = text.replace(value, "***")
    return text
