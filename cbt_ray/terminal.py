"""The terminal: whether it can be drawn on, how wide it is, and what fits into that."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

NARROWEST = 40
"""Columns below which nothing is wrapped any narrower."""
ENDLESS = 10_000


def can_be_drawn_on() -> bool:
    """Whether standard output is a terminal that takes control sequences, and the user wants them.

    Where not, nothing but lines is written.
    """
    takes_them = os.environ.get("TERM", "dumb").lower() not in ("", "dumb", "unknown")
    return sys.stdout.isatty() and takes_them and not os.environ.get("NO_COLOR")


def columns() -> int:
    """How wide it is: COLUMNS, else what the terminal says; where there is none, lines are whole
    for whoever reads them.
    """
    if not os.environ.get("COLUMNS") and not sys.stdout.isatty():
        return ENDLESS
    return max(NARROWEST, shutil.get_terminal_size().columns)


def within(say: Callable[[str], object]) -> Callable[[str], None]:
    """Say lines that fit: a longer one goes on below, set in."""

    def wrapped(line: str) -> None:
        inset = " " * (len(line) - len(line.lstrip()) + 2)
        wrap = textwrap.TextWrapper(
            columns(), subsequent_indent=inset, break_on_hyphens=False, break_long_words=False
        )
        for part in wrap.wrap(line) or [""]:
            say(part)

    return wrapped


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 0) -> Iterator[str]:
    """A table that fits, a line each: its first column and the last `words` ones hold words, the
    others numbers.
    """
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, name in enumerate(head):
        is_words = at == 0 or at >= len(head) - words
        drawn.add_column(Text(name), justify="left" if is_words else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    page = StringIO()
    Console(file=page, width=columns(), force_terminal=False, color_system=None).print(drawn)
    return (line.rstrip() for line in page.getvalue().splitlines())
