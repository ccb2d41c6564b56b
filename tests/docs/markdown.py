"""The Markdown pages of the project: their prose, tables, blocks of code, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CELLS = re.compile(r"(?<!\\)\|")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    kind: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """All blocks of code, in their order."""
    for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
        yield Block(page.name, kind, text)


def lines(page: Path) -> list[str]:
    """The lines of a page that are no code."""
    return FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()


def prose(page: Path) -> list[str]:
    """The lines that are neither code nor a row of a table."""
    return [line for line in lines(page) if not line.startswith("|")]


def rows(page: Path) -> list[str]:
    """The rows of tables."""
    return [line for line in lines(page) if line.startswith("|")]


def cells(row: str) -> list[str]:
    """The cells of a row."""
    return [cell.strip() for cell in CELLS.split(row.strip().strip("|"))]


def spans(page: Path) -> list[str]:
    """What stands in backticks within a line."""
    return [found for line in lines(page) for found in re.findall(r"`([^`]+)`", line)]


def anchors(page: Path) -> set[str]:
    """What links may name behind `#`: the headings, as GitHub writes them."""
    headings = [line.lstrip("#").strip() for line in lines(page) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The addresses of links and images."""
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", "\n".join(lines(page)))
