"""The analysis as a document: its typed sections as JSON, and JSON as sections again."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(part: Any) -> Any:
    """A section, or a list or mapping of them, as plain JSON: fields in their order."""
    return _adapter(object).dump_python(part, mode="json")


def from_json(kind: type[T], document: Any) -> T:
    """JSON as the section that it was made of.

    Raises pydantic's ValidationError on anything else.
    """
    adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]
    return adapter.validate_python(document)
