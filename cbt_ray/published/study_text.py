"""The text of the study file that an import writes: a template of the publication, filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined


def filled(template: Path, values: Mapping[str, Any]) -> str:
    """A template that comes with cbt-ray, with its values."""
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  YAML
    )
    return environment.from_string(template.read_text()).render(**values) + "\n"


def quoted(text: str) -> str:
    """A text as YAML takes it anywhere."""
    return json.dumps(text, ensure_ascii=False)


def remarked(text: str) -> str:
    """A text as YAML takes it in a comment: on one line, without what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
