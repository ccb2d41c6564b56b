"""A part of the analysis and where it is, so that what is printed can name its key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class At(Generic[T]):
    """A part of the analysis under its JSON pointer (RFC 6901)."""

    value: T
    pointer: str = ""

    def of(self, read: Callable[[T], U]) -> At[U]:
        """What `read` finds in it: `analysis.of(lambda all: all.contrasts.primary)`."""
        return At(read(self.value), self.pointer + path(read))

    def each(self, read: Callable[[T], Sequence[U]]) -> list[At[U]]:
        """The parts of a list in it, in their order."""
        found = self.of(read)
        return [At(part, f"{found.pointer}/{n}") for n, part in enumerate(found.value)]

    def named(self, read: Callable[[T], Mapping[str, U]]) -> dict[str, At[U]]:
        """The parts of a mapping in it, under their names."""
        found = self.of(read)
        return {name: At(part, found.pointer + step(name)) for name, part in found.value.items()}

    def known(self: At[U | None]) -> list[At[U]]:
        """The part itself, none where it is null."""
        return [] if self.value is None else [At(self.value, self.pointer)]


class _Path:
    """Stands in for a part of the analysis, and notes what is read of it."""

    def __init__(self, pointer: str = "") -> None:
        self._pointer = pointer

    def __getattr__(self, name: str) -> _Path:
        return _Path(self._pointer + step(name))

    def __getitem__(self, name: object) -> _Path:
        return _Path(self._pointer + step(name))


def path(read: Callable[[Any], object]) -> str:
    """The pointer of what a function reads, relative to its argument.

    It may read fields and entries, and `row.part.field if row.part else None` where a part may be
    null; TypeError on anything else, so that nothing is printed that the analysis does not hold.
    """
    found = read(_Path())
    if not isinstance(found, _Path):
        raise TypeError(f"expected a field of the analysis, found {found!r}")
    return found._pointer


def step(name: object) -> str:
    """One step of a pointer."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")
