"""A JSON file of the public repository, and how it was written, so that the same bytes can be
written again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from cbt_ray.imports.remark import Remark
from cbt_ray.imports.repository import Source
from cbt_ray.reading import loads

DEFAULT: dict[str, Any] = {"indent": 2, "ascii": True, "end": ""}
"""As the public code writes."""
_STYLES = [
    {"indent": indent, "ascii": ascii_, "end": end}
    for indent in (2, None, 4, 1)
    for ascii_ in (True, False)
    for end in ("", "\n")
]
OTHER_BLANKS = "is written again with other blanks than it has"


@dataclass(frozen=True)
class JsonFile:
    """Its fields, and its blanks where they are not as usual."""

    fields: dict[str, Any]
    style: dict[str, Any] | None = None


def read_json(source: Source, text_field: str) -> tuple[JsonFile | None, list[Remark]]:
    """Read a file that must have a text field; answers what is to be said about it, too."""
    try:
        fields = loads(source.text)
    except ValueError as error:
        line = re.match(r"line (\d+): ", str(error))
        said = str(error).removeprefix(line[0]) if line else str(error)
        return None, [
            Remark(source.path, int(line[1]) if line else 1, f"expected JSON ({said})", lost=True)
        ]
    if (
        not isinstance(fields, dict)
        or not isinstance(fields.get(text_field), str)
        or not fields[text_field].strip()
    ):
        return None, [Remark(source.path, 1, f"expected a field {text_field} with text", lost=True)]
    style = next((style for style in _STYLES if write_json(fields, style) == source.text), None)
    remarks = [] if style else [Remark(source.path, 0, OTHER_BLANKS)]
    return JsonFile(fields, None if style in (None, DEFAULT) else style), remarks


def write_json(fields: dict[str, Any], style: dict[str, Any] | None = None) -> str:
    """The file's text."""
    chosen = style or DEFAULT
    return json.dumps(fields, indent=chosen["indent"], ensure_ascii=chosen["ascii"]) + str(
        chosen["end"]
    )
