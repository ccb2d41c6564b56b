"""The path to a number of an analysis: names, places in a list, and rows by what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Step = str | dict[str, str]
"""A key, or a place in a list, or in a list the entry whose fields have these values."""


def walk(document: Any, path: Sequence[Step]) -> Any:
    """The value at a path, None where there is none."""
    for step in path:
        if isinstance(step, str) and isinstance(document, list):
            document = document[int(step)] if step.isdigit() and int(step) < len(document) else None
        elif isinstance(step, str):
            document = document.get(step) if isinstance(document, Mapping) else None
        else:
            rows = document if isinstance(document, list) else []
            document = next(
                (
                    row
                    for row in rows
                    if all(row.get(name) == value for name, value in step.items())
                ),
                None,
            )
        if document is None:
            return None
    return document
