"""Prompts: Jinja2 files under prompts/, versioned by the hash of their content."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from cbt_ray.errors import InputError

HOME = Path(__file__).resolve().parent.parent / "prompts"


class Prompts:
    """The prompts of one folder; a name the study's own folder lacks comes from the project's."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folders = [folder, HOME] if folder else [HOME]

    def render(self, prompt: str, /, **values: Any) -> str:
        """Fill in a prompt; a value that it needs and lacks is an error."""
        try:
            return _environment(tuple(self.folders)).get_template(prompt).render(**values).strip()
        except TemplateError as error:
            expected = f"expected a Jinja2 template that needs nothing but {', '.join(sorted(values)) or 'nothing'}"
            raise InputError(f"{self.path(prompt)}: {expected} ({error})") from None

    def path(self, name: str) -> Path:
        """The file of a prompt; raises InputError where there is none."""
        for folder in self.folders:
            if (folder / name).is_file():
                return folder / name
        raise InputError(f"{self.folders[0] / name}: expected a prompt file, there is none")

    def hash(self, *names: str) -> dict[str, str]:
        """The versions of prompts: name to the first 16 digits of the SHA-256 of its file."""
        return {name: _hash(self.path(name)) for name in sorted(names)}


@cache
def _environment(folders: tuple[Path, ...]) -> Environment:
    # Prompts are plain text for a model, not HTML for a browser.
    return Environment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701
    )


@cache
def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
