"""The analysis as a document: its typed sections as JSON, and JSON as sections again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class Keyed:
    """Reads a section's fields as keys, while parts of the analysis are not typed yet."""

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def get(self, name: str, default: Any = None) -> Any:  # noqa: D102
        return getattr(self, name, default)

    def keys(self) -> list[str]:  # noqa: D102
        return list(self.__dataclass_fields__)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()


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
