"""Parts of the page: what a section is made of, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cbt_ray.report.figure import Figure
from cbt_ray.report.table import Table


@dataclass(frozen=True)
class Text:
    """A paragraph: plain text, or markup made of our own words and escaped values."""

    content: str
    style: str = ""
    kind: str = "text"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    title: str
    kind: str = "heading"


@dataclass(frozen=True)
class Pairs:
    """Names and values below each other."""

    pairs: Mapping[str, object]
    kind: str = "pairs"


@dataclass(frozen=True)
class Source:
    """A text as it stands, such as a study file."""

    content: str
    kind: str = "source"


@dataclass(frozen=True)
class Fold:
    """Parts that are read on request."""

    title: str
    parts: Sequence[Part]
    printed: bool = False
    """Whether they are on paper, too, where nobody unfolds anything."""
    kind: str = "fold"


Part = Text | Heading | Pairs | Source | Fold | Table | Figure


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    id: str
    title: str
    parts: Sequence[Part]


def every(parts: Sequence[Part]) -> list[Part]:
    """All parts in reading order, folded ones with them."""
    return [
        inner
        for part in parts
        for inner in ([part, *every(part.parts)] if isinstance(part, Fold) else [part])
    ]
