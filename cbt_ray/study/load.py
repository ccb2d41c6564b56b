"""Read a study file.

Everything wrong with it becomes one line each: file, field, what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.reading import located, read_document, read_fields
from cbt_ray.study.block import Several
from cbt_ray.study.complaint import complaints
from cbt_ray.study.endpoint import FINETUNED, SECRET
from cbt_ray.study.patients import DrawnPatients
from cbt_ray.study.recipe import is_hub_id
from cbt_ray.study.study import LOOSE, Study, Unfit

REFERENCES: tuple[tuple[str, ...], ...] = (
    ("patients", "training", "characteristics"),
    ("patients", "training", "names"),
    ("patients", "drawn", "characteristics"),
    ("patients", "drawn", "names"),
    ("patients", "simulated"),
    ("models", "*", "recipe"),
    ("forms", "*", "parts", "*", "fields", "*", "one_of"),
    ("imported",),
)
"""Fields that may name a YAML or JSON file (relative to the study file) in place of standing in it.
"""


PATHS: tuple[tuple[str, ...], ...] = (
    ("store",),
    ("endpoints", "*", "gguf"),
    ("models", "*", "recipe", "start"),
    ("models", "*", "recipe", "compare"),
)
"""Fields that name a place on this machine, unless they are written as another one; relative to the
study file."""
_ELSEWHERE = re.compile(r"package:|\w+:/|s3:", re.IGNORECASE)


ROUNDS = 4
"""Times that a file is looked at again without what was refused."""


_SEED: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0)])
_NEEDED = {"missing", "union_tag_invalid", "union_tag_not_found"}
"""Complaints of what no study can do without."""


@dataclass(frozen=True)
class Examined:
    """A study file as far as it could be read: fields that hold what they must not are left out of
    `study`.
    """

    study: Study | None
    problems: tuple[str, ...]


def load_study(
    path: str | Path, overrides: dict[str, Any] | None = None, without: Collection[str] = ()
) -> Study:
    """Read, complete and check a study file.

    `overrides` replaces fields by their dotted names (the command line's --set); of the fields
    `without` nothing is read. Raises InputError with all that is wrong, one line each.
    """
    examined = examine(path, overrides, without)
    if examined.problems or examined.study is None:
        raise InputError(*examined.problems)
    return examined.study


def examine(
    path: str | Path, overrides: dict[str, Any] | None = None, without: Collection[str] = ()
) -> Examined:
    """Read a study file as far as it goes, and say all that is wrong with it.

    Raises InputError where nothing can be read.
    """
    file = located(str(path))
    document = {name: value for name, value in read_fields(file).items() if name not in without}
    files: dict[str, str] = {}
    found = _Found(file)
    for where in REFERENCES:
        for node, name, dotted in _places(document, where):
            if isinstance(node[name], str):
                files[dotted] = node[name]
                node[name] = _followed(found, dotted, node[name])
    for name, value in (overrides or {}).items():
        _override(file, document, name.split("."), value)
    document.setdefault("store", Study.model_fields["store"].default)
    for where in PATHS:
        for node, name, dotted in _places(document, where):
            if isinstance(node[name], str):
                node[name] = _placed(found, dotted, node[name])
    study = _validated(found, document, files)
    if study is not None:
        study._file = file
    said: dict[str, str] = {}
    for line in map(found.as_written, found.lines):
        drawn = line.startswith(f"{file}: patients.drawn.profile")
        said.setdefault(line.partition(", found")[0] if drawn else line, line)
    return Examined(study, tuple(said.values()))


@dataclass
class _Found:
    """What is wrong with a file so far, and in which fields."""

    file: Path
    lines: list[str] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    drawn_from: int | None = None
    """The place among simulated patients from which on they were drawn."""

    def add(self, dotted: str, said: str) -> None:
        prefix = f"{self.file}: "
        self.lines.append(said if said.startswith(prefix) else f"{prefix}{dotted}: {said}")
        self.fields.add(dotted)

    def as_written(self, line: str) -> str:
        """A complaint of a drawn patient as one of what it was drawn from."""

        def field_of(found: re.Match[str]) -> str:
            number = int(found[1]) - (self.drawn_from or 0)
            if self.drawn_from is None or number < 0:
                return found[0]
            return "patients.drawn." + (f"names.{number}" if found[2] == "name" else "profile")

        return re.sub(r"\bpatients\.simulated\.(\d+)\.(name|profile)\b", field_of, line, count=1)

    def knows(self, dotted: str) -> bool:
        """Whether what is wrong with a field follows from what has been said of it, of a part of it
        or of what it is in.
        """
        return any(
            f"{dotted}.".startswith(f"{known}.") or known.startswith(f"{dotted}.")
            for known in self.fields
        )


def _places(
    node: Any, where: tuple[str, ...], done: tuple[str, ...] = ()
) -> Iterator[tuple[dict[Any, Any], Any, str]]:
    """The mappings that hold a field, its name there, and the dotted field.

    `*` in `where` is any name, or any place of a list.
    """
    head, *rest = where
    if isinstance(node, list) and head == "*" and rest:
        for number, part in enumerate(node):
            yield from _places(part, tuple(rest), (*done, str(number)))
    if not isinstance(node, dict):
        return
    for name in list(node) if head == "*" else [head]:
        if name in node and rest:
            yield from _places(node[name], tuple(rest), (*done, str(name)))
        elif name in node:
            yield node, name, ".".join((*done, str(name)))


def _followed(found: _Found, dotted: str, name: str) -> Any:
    """The content of a file that a field names; None where it cannot be read."""
    try:
        other = located(name, found.file.parent)
        value = read_document(other, f"{found.file}: {dotted}: {other}")
        if value is None:
            raise InputError(f"{other}: expected the content of this field, the file is empty")
        return value
    except InputError as error:
        for said in error.problems:
            found.add(dotted, said)
        return None


def _placed(found: _Found, dotted: str, name: str) -> str:
    """A path as it is from where the command runs.

    What is no path, such as a hub id or an address, as it is.
    """
    if (
        not name
        or name == FINETUNED
        or _ELSEWHERE.match(name)
        or (dotted != "store" and is_hub_id(name))
    ):
        return name
    try:
        return str(located(name, found.file.parent))
    except InputError as error:
        found.add(dotted, str(error))
        return "none"


def _validated(found: _Found, document: dict[str, Any], files: dict[str, str]) -> Study | None:
    """The study.

    Fields that are refused are left out where they may be, so that what is wrong besides is found,
    too.
    """
    for _ in range(ROUNDS):
        _draw(found, document)
        try:
            return Study.model_validate(document)
        except ValidationError as error:
            details = error.errors(include_url=False)
            for line in complaints(error, Study, files):
                dotted = re.split(r"[: ]", line, maxsplit=1)[0]
                if not found.knows(dotted):
                    found.lines.append(f"{found.file}: {_without_secrets(line, document)}")
            if any(isinstance(_cause(detail), Unfit) for detail in details):
                return Study.model_validate(document, context=LOOSE)
            owners = [_owner(document, loc) for detail in details for loc in _locs(detail)]
            if any(detail["type"] in _NEEDED for detail in details) or None in owners:
                return None
            for node, name, dotted in filter(None, owners):
                node.pop(name, None)
                found.fields.add(dotted)
    return None


def _draw(found: _Found, document: dict[str, Any]) -> None:
    """Put the simulated patients in the place of what they are drawn from.

    What is not valid stays, and is complained of with the rest.
    """
    for node, name, _ in _places(document, ("patients", "drawn")):
        try:
            drawn = DrawnPatients.model_validate(node[name])
            seed = _SEED.validate_python(document.get("seed"))
        except ValidationError:
            return
        own, language = document.get("prompts"), str(document.get("language", "en"))
        try:
            prompts = Prompts.beside(found.file, own if isinstance(own, str) else None, language)
            patients = [_drawn(drawn, prompts, seed, number) for number in range(drawn.count)]
        except InputError as error:
            found.add("patients.drawn.profile", str(error))
            patients = [{"name": one, "profile": "-" * 40} for one in drawn.names[: drawn.count]]
        listed = node.get("simulated") or []
        if isinstance(listed, list):
            del node[name]
            node["simulated"] = [*listed, *patients]
            found.drawn_from = len(listed)


def _drawn(drawn: DrawnPatients, prompts: Prompts, seed: int, number: int) -> dict[str, str]:
    levels = drawn.draw("simulated", seed, number + 1)
    if levels is None:
        raise InputError("expected `never` to leave some patients")
    given = {"name": drawn.names[number], "characteristics": levels}
    return {
        "name": drawn.names[number],
        "profile": prompts.render(drawn.profile, **given),
    }


def _cause(detail: ErrorDetails) -> Exception | None:
    cause = detail.get("ctx", {}).get("error")
    return cause if isinstance(cause, Exception) else None


def _locs(detail: ErrorDetails) -> list[tuple[int | str, ...]]:
    """Where a complaint's fields are: a block's own check names some below its own place."""
    cause = _cause(detail)
    named = (
        [problem.partition(":")[0].split(".") for problem in cause.problems]
        if isinstance(cause, Several)
        else [[]]
    )
    return [(*detail["loc"], *names) for names in named]


def _owner(node: Any, loc: Sequence[int | str]) -> tuple[dict[Any, Any], Any, str] | None:
    """The mapping, and the name in it, that hold what pydantic complains of.

    `loc` has tags between the names.
    """
    owner: tuple[dict[Any, Any], Any, str] | None = None
    done: list[str] = []
    for part in loc:
        if isinstance(node, dict) and part in node:
            done.append(str(part))
            owner = node, part, ".".join(done)
            node = node[part]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            done.append(str(part))
            node = node[part]
    return owner


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
