"""The keys of analysis.json: as a JSON schema, and as the tables of docs/analysis.md.

`python -m cbt_ray.analysis.schema docs` (`make docs`) writes both anew.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import JsonValue, TypeAdapter

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.study.block import Block
from cbt_ray.study.schema import DIALECT, meanings

PAGE, SCHEMA_FILE = "analysis.md", "analysis.schema.json"
KEYS = "## Keys\n"
"""Below it the page is written from the types."""
HEAD, WIDEST = "| key | is | meaning |\n|---|---|---|", 120
SENTENCE, NEXT = re.compile(r"(?<=[.?!]) (?=[A-Z`])"), "\n  "
WORDS: Mapping[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "truth",
    type(None): "null",
    JsonValue: "JSON",
    Any: "JSON",
    object: "JSON",
}


@cache
def analysis_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) that analysis.json follows, with each key's meaning."""
    found = TypeAdapter(Analysis).json_schema(mode="serialization")
    for part in parts():
        own = found if part is Analysis else found["$defs"][part.__name__]
        for name, meaning in meanings(part).items():
            own["properties"][name]["description"] = meaning
    return {"$schema": DIALECT, **found}


def tables() -> str:
    """A table for each part, in the order in which they are met."""
    return "\n".join([KEYS, *(f"{_heading(part)}{_table(part)}" for part in parts())])


def parts() -> list[type]:
    """The classes that an analysis is made of, each before what it holds."""
    return list(dict.fromkeys(_inside(Analysis)))


def _fields(part: type) -> dict[str, Any]:
    """Field -> its type."""
    hints = get_type_hints(part)
    own = (
        part.model_fields if issubclass(part, Block) else part.__dataclass_fields__  # type: ignore[attr-defined]
    )
    return {name: hints[name] for name in own}


def _is_part(annotation: Any) -> bool:
    return isinstance(annotation, type) and (
        is_dataclass(annotation) or issubclass(annotation, Block)
    )


def _named(annotation: Any) -> Iterator[type]:
    """The parts that a type names."""
    if _is_part(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _named(argument)


def _inside(part: type) -> Iterator[type]:
    """A part, then all that it holds."""
    yield part
    for annotation in _fields(part).values():
        for inner in _named(annotation):
            yield from _inside(inner)


def _heading(part: type) -> str:
    said = "" if part is Analysis else f"### {part.__name__}\n\n"
    return f"{said}{SENTENCE.sub(chr(10), _told(part))}\n\n"


def _told(part: type) -> str:
    """What a part is: the first paragraph of its docstring."""
    return " ".join((inspect.getdoc(part) or "").partition("\n\n")[0].split())


def _table(part: type) -> str:
    """A row a key; what makes it too wide is listed below."""
    said, rows, below = meanings(part), [], []
    for name, of in _fields(part).items():
        named = list(_named(of))
        told = said.get(name) or (_told(named[0]) if len(named) == 1 else "")
        row, *more = _rows(name, _word(of), told)
        rows.append(row)
        below += more
    return "\n".join([HEAD, *rows, *(["", *below] if below else [])]) + "\n"


def _rows(name: str, word: str, told: str) -> Iterator[str]:
    """The row of a key, and the item of the list where it is too wide."""
    told_below = SENTENCE.sub(NEXT, told)
    if len(row := f"| `{name}` | {word} | {told} |") <= WIDEST:
        yield row
    elif len(row := f"| `{name}` | {word} | see below |") <= WIDEST:
        yield from (row, f"- `{name}`: {told_below}")
    else:
        yield f"| `{name}` | see below | |"
        yield f"- `{name}`: {word}.{NEXT}{told_below}".rstrip()


def _word(annotation: Any) -> str:
    """A type in words."""
    if annotation in WORDS:
        return WORDS[annotation]
    if _is_part(annotation):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    words = [_word(one) for one in inner if one is not Ellipsis]
    if origin in (Union, UnionType):
        return " or ".join(words)
    if origin in (Mapping, dict):
        return f"name -> {words[1]}"
    return f"list of {words[0]}" if len(words) < 2 else f"({', '.join(words)})"


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(analysis_schema(), indent=1, ensure_ascii=False) + "\n"


def page(text: str) -> str:
    """The page with its keys as they are now."""
    return text.partition(KEYS)[0] + tables()


def write(folder: Path) -> None:
    """Write the page and the schema anew."""
    file = folder / PAGE
    file.write_text(page(file.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
