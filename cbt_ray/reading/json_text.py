"""JSON from outside: a key given twice, a number that is none, a document too deep are errors,
never silent choices.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.reading.regular import LARGEST_TEXT, read_text

DEEPEST = 500
"""Levels; how many Python's own parser takes differs from one version to the next."""
LONGEST_INTEGER = 40
"""Digits; above 4,300 Python refuses by itself, with another error, and no number here has 40."""


def loads(text: str | bytes, *, numbers: Literal["finite", "any"] = "finite") -> Any:
    """A JSON document. Raises ValueError, one line, for whatever is wrong with it.

    `numbers`: with "any", one that is none (NaN, thousands of digits) is read as None and not
    refused. Servers write such into statistics that nobody reads.
    """
    strict = numbers == "finite"
    try:
        return _bounded(
            json.loads(
                text,
                object_pairs_hook=_mapping,
                parse_int=_integer if strict else _short_integer,
                parse_constant=_constant if strict else _no_number,
            )
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is no UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_json(file: Path, name: str | None = None, largest: int = LARGEST_TEXT) -> Any:
    """A JSON file. Raises InputError, one line."""
    text = read_text(file, name, largest)
    try:
        return loads(text)
    except ValueError as error:
        raise InputError(f"{name or file}: expected JSON: {error}") from None


def _bounded(document: Any) -> Any:
    level = _nested([document])
    for _ in range(DEEPEST):
        level = [part for one in level for part in _nested(one)]
        if not level:
            return document
    raise ValueError("nested too deep")


def _nested(parts: dict[str, Any] | list[Any]) -> list[Any]:
    values = parts.values() if isinstance(parts, dict) else parts
    return [part for part in values if isinstance(part, (dict, list))]


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        twice = next(
            name for name, count in Counter(name for name, _ in pairs).items() if count > 1
        )
        raise ValueError(f"{twice!r} is given twice")
    return mapping


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError(f"a whole number of {many(len(digits), 'digit')}")
    return int(digits)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _short_integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= LONGEST_INTEGER else None


def _no_number(name: str) -> None:
    """NaN, Infinity."""
