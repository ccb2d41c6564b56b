"""Prompts: Jinja2 files under prompts/LANGUAGE/, versioned by the hash of their content.

They are data, and bounded as such.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from jinja2 import (
    BaseLoader,
    Environment,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    meta,
)
from pydantic import BaseModel

from cbt_ray.errors import InputError
from cbt_ray.reading import located, read_bytes, read_text
from cbt_ray.reading.once import once
from cbt_ray.reading.template_text import BoundedEnvironment
from cbt_ray.shipped import shipped

HOME = shipped("prompts")
LARGEST = 1 << 20
"""Bytes of a prompt."""
MOST = 1000
"""Files of a folder of prompts."""
_BRINGS = re.compile(rb"\{%[-+]?\s*(include|import|from|extends)\b")
"""What brings another prompt into one."""


_compiling = Lock()


class Prompts:
    """The prompts of one folder; a name that the study's own folder lacks comes from the project's
    of the same language, and never from another language's.

    Scales lie beside the languages: a study names its scale.
    """

    def __init__(self, folder: Path | None = None, language: str = "en") -> None:
        home = HOME / language
        self.own_folder = folder
        self.folders = [folder, home, HOME] if folder else [home, HOME]

    @classmethod
    def beside(cls, file: Path, own: str | None, language: str) -> Prompts:
        """Those of a study file: its own folder, if it names one, before the project's of its
        language.
        """
        return cls(located(own, file.parent) if own else None, language)

    def render(self, prompt: str, /, **values: Any) -> str:
        """Fill in a prompt; a value that it needs and lacks is an error.

        Raises InputError, one line.
        """
        file = self.path(prompt)
        try:
            environment = _environment(tuple(self.folders))
            plain = {name: _plain(value) for name, value in values.items()}
            return environment.rendered(_template(environment, prompt), plain).strip()
        except InputError:
            raise
        except (
            Exception
        ) as error:  # whatever a template can raise: it is the template that must be mended
            expected = (
                "expected a Jinja2 template that needs nothing but "
                f"{', '.join(sorted(values)) or 'nothing'}"
            )
            line = (
                f", line {error.lineno}"
                if isinstance(error, TemplateError) and hasattr(error, "lineno")
                else ""
            )
            raise InputError(
                f"{file}{line}: {expected} ({str(error) or type(error).__name__})"
            ) from None

    def parse(self, prompt: str) -> None:
        """Raise InputError where a prompt is no template."""
        file = self.path(prompt)
        try:
            _template(_environment(tuple(self.folders)), prompt)
        except InputError:
            raise
        except Exception as error:
            line = (
                f", line {error.lineno}"
                if isinstance(error, TemplateError) and hasattr(error, "lineno")
                else ""
            )
            raise InputError(
                f"{file}{line}: expected a Jinja2 template ({str(error) or type(error).__name__})"
            ) from None

    def path(self, name: str) -> Path:
        """The file of a prompt; raises InputError where there is none."""
        inside = PurePosixPath(name)
        if "\0" in name or not name or inside.is_absolute() or ".." in inside.parts:
            raise InputError(
                f"expected the name of a prompt file in {self.folders[0]}, found {name!r}"
            )
        for folder in self.folders:
            located(name, folder)  # or it is too long for one
            if (folder / name).exists() or (folder / name).is_symlink():
                return folder / name
        raise InputError(f"{self.folders[0] / name}: expected a prompt file, there is none")

    def own(self) -> list[str]:
        """The names of all templates in the study's own folder.

        Raises InputError where it is none, or too large.
        """
        folder = self.own_folder
        if folder is None:
            return []
        if not folder.is_dir():
            raise InputError(f"expected a folder, {folder} is none")
        found = []
        for file in folder.rglob("*"):
            found.append(file)
            if len(found) > MOST:
                raise InputError(f"{folder}: expected at most {MOST:,} files")
        return sorted(str(file.relative_to(folder)) for file in found if file.suffix == ".j2")

    def hash(self, *names: str) -> dict[str, str]:
        """The versions of prompts: name to the first 16 digits of the SHA-256 of its file, and of
        those that it brings in.
        """
        return {name: _hash(tuple(self._with_brought(name))) for name in sorted(names)}

    def _with_brought(self, name: str) -> list[Path]:
        """A prompt's file, and after it those of all prompts that it brings in."""
        todo, known = [name], dict[str, Path]()
        while todo:
            one = todo.pop()
            if one not in known:
                known[one] = self.path(one)
                todo += _brought(known[one]) if one.endswith(".j2") else []
        return [known.pop(name), *(known[other] for other in sorted(known))]


class _Loader(BaseLoader):
    """Finds prompts where `Prompts` does, and reads them as everything from outside is read."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts

    def get_source(
        self, _environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        try:
            file = self.prompts.path(template)
        except InputError as error:
            raise TemplateNotFound(template, str(error)) from None
        seen = file.stat().st_mtime_ns if file.exists() else 0
        text = read_text(file, largest=LARGEST)
        if "\0" in text:
            raise InputError(f"{file}: expected text without NUL characters")
        return text, str(file), lambda: file.exists() and file.stat().st_mtime_ns == seen


@once
def _environment(folders: tuple[Path, ...]) -> BoundedEnvironment:
    # Prompts are plain text for a model, not HTML for a browser.
    prompts = Prompts()
    prompts.folders = list(folders)
    return BoundedEnvironment(
        loader=_Loader(prompts),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def _template(environment: BoundedEnvironment, name: str) -> Template:
    """A prompt as it is now, compiled by the first of the threads that ask for it."""
    with _compiling:
        return environment.get_template(name)


class _Seen:
    """A value as a prompt may see it: its fields, each when it is asked for, and none of a model's
    methods, some of which read files.
    """

    def __init__(self, value: Any, names: Collection[str]) -> None:
        self._value, self._names = value, names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(name)
        return _plain(getattr(self._value, name))


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    names = _names_of_fields(value.__class__)
    return value if names is None else _Seen(value, names)


@cache
def _names_of_fields(kind: type) -> frozenset[str] | None:
    """Of a model or dataclass; None of anything else."""
    if issubclass(kind, BaseModel):
        return frozenset(kind.model_fields)
    return frozenset(field.name for field in fields(kind)) if is_dataclass(kind) else None


@once
def _hash(files: tuple[Path, ...]) -> str:
    return hashlib.sha256(
        b"".join(read_bytes(file, largest=LARGEST) for file in files)
    ).hexdigest()[:16]


@once
def _brought(file: Path) -> list[str]:
    """The names of the prompts that a prompt brings in."""
    data = read_bytes(file, largest=LARGEST)
    if not _BRINGS.search(data):
        return []
    try:
        found = list(_names(read_text(file, largest=LARGEST)))
    except TemplateError as error:
        raise InputError(f"{file}: expected a Jinja2 template ({error})") from None
    if None in found:
        raise InputError(
            f"{file}: expected the name of each prompt that is brought in to be written out, in "
            "quotes"
        )
    return [name for name in found if name is not None]


def _names(source: str) -> Iterator[str | None]:
    yield from meta.find_referenced_templates(Environment(autoescape=False).parse(source))  # noqa: S701  only parsed
