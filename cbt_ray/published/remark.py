"""Remarks: what an import could not read, and what it read that is out of the ordinary.

One line each: file, line, reason.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Remark:
    """Something to say about a place in a file."""

    file: str
    """Its path inside what is imported."""
    line: int
    """Counted from 1; 0 where it is the whole file or folder."""
    reason: str
    lost: bool = False
    """It could not be read, so that nothing of it was imported."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {'not imported: ' if self.lost else ''}{self.reason}"


def line_of(text: str, position: int) -> int:
    """The line, counted from 1, on which a position of a text lies."""
    return text.count("\n", 0, position) + 1
