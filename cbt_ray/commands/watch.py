"""Watch: the status of a study while it runs, drawn anew or told change by change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from cbt_ray import terminal
from cbt_ray.commands.status import Status
from cbt_ray.count import many

EVERY_S = 2.0
"""Seconds between two looks."""
SHARE = 10
"""A look that takes long, at a large store far away, takes this part of the time at most."""

Lines = Callable[[], Iterable[str]]


def watch(
    status: Status,
    say: Callable[[str], object],
    also: Lines = tuple,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Show how far a study is until nothing is owed.

    `also` are further lines, such as what runs in a cluster.
    """
    if terminal.can_be_drawn_on():
        _draw(status, also, sleep)
    else:
        _tell(status, say, also, sleep)


def _draw(status: Status, also: Lines, sleep: Callable[[float], object]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        for _ in _looks(status, sleep):
            lines = [*status.lines(datetime.now(UTC)), *also()]
            live.update(Text("\n".join(fitting(lines, live.console.height))), refresh=True)


def fitting(lines: Sequence[str], height: int) -> list[str]:
    """The lines that fit on a screen: the first, which are the stages, and the last, which are the
    trainings, the cost and what runs on a cluster.
    """
    if len(lines) <= height:
        return list(lines)
    first = height // 2
    left_out = len(lines) - (height - 1)
    return [*lines[:first], f"... {many(left_out, 'line')} more", *lines[first + left_out :]]


def _tell(
    status: Status, say: Callable[[str], object], also: Lines, sleep: Callable[[float], object]
) -> None:
    told: set[str] = set()
    for _ in _looks(status, sleep):
        lines = [*status.facts(), *also()]
        for line in lines:
            if line not in told:
                say(line)
        told = set(lines)


def _looks(status: Status, sleep: Callable[[float], object]) -> Iterator[None]:
    """Each look, up to the first that finds nothing owed."""
    took = 0.0
    while True:
        yield
        if status.settled:
            return
        sleep(max(EVERY_S, SHARE * took))
        begun = time.monotonic()
        status.renew()
        took = time.monotonic() - begun
