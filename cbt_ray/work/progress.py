"""How far a stage is: bars with rates and remaining time on a terminal, one line a step
otherwise.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from cbt_ray.unit import Status

Watch = Callable[[str, str], None]
"""Hears of a unit by its key: its status once it is settled, or why it was moved aside."""


class Progress(Protocol):
    """Shows how far stages are."""

    def stage(self, name: str, total: int) -> contextlib.AbstractContextManager[Watch]:
        """Open a stage of `total` units; the watch is told of each as it is settled."""
        ...

    def say(self, line: str) -> None:
        """Show one line."""
        ...


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Watch]:  # noqa: ARG002
        """Open a stage that nobody watches."""
        yield lambda _key, _outcome: None

    def say(self, line: str) -> None:
        """Say nothing."""


class Lines:
    """One line a step, for logs: at most one in `every` seconds, and a last one for the stage."""

    def __init__(self, every: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.every = every
        self.clock = clock

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Watch]:
        """Open a stage."""
        begun = last = self.clock()
        settled: Counter[str] = Counter()
        seen: set[str] = set()
        self.say(f"{name}: {total} owed")

        def watch(key: str, outcome: str) -> None:
            nonlocal last
            if outcome not in set(Status):
                self.say(f"{key}: {outcome}")
                return
            if key in seen or f"/{name}/" not in key:
                return
            seen.add(key)
            settled[outcome] += 1
            if self.clock() - last >= self.every and len(seen) < total:
                last = self.clock()
                rate = len(seen) / max(last - begun, 1e-9)
                self.say(
                    f"{name}: {len(seen)}/{total}, {_rate(rate)}, "
                    f"{_clock((total - len(seen)) / rate)} left"
                )

        yield watch
        rejected = f", {settled['rejected']} rejected" if settled["rejected"] else ""
        self.say(f"{name}: {len(seen)}/{total} settled{rejected} in {_clock(self.clock() - begun)}")

    def say(self, line: str) -> None:
        """Print a line at once."""
        print(line, flush=True)


class Bars:
    """A bar a stage, with rate and remaining time, for terminals."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Watch]:
        """Open a bar."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        columns: list[Any] = [
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
        ]
        columns += [
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        ]
        with Bar(*columns) as bar:
            task = bar.add_task(name, total=total, rate="")
            seen: set[str] = set()
            begun = time.monotonic()

            def watch(key: str, outcome: str) -> None:
                if outcome not in set(Status):
                    bar.console.print(f"{key}: {outcome}", markup=False, highlight=False)
                elif key not in seen and f"/{name}/" in key:
                    seen.add(key)
                    bar.update(
                        task, advance=1, rate=_rate(len(seen) / max(time.monotonic() - begun, 1e-9))
                    )

            yield watch

    def say(self, line: str) -> None:
        """Print a line."""
        print(line, flush=True)


def for_terminal() -> Progress:
    """Bars where someone watches, lines where a log is written."""
    return Bars() if sys.stdout.isatty() else Lines()


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if seconds >= 60 else f"{seconds:.0f} s"
