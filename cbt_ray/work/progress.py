"""How far a stage is, and what the study has cost so far: a bar on a terminal that can be drawn on,
lines otherwise.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from cbt_ray import terminal
from cbt_ray.unit import Status

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

Watch = Callable[[str, str], None]
"""Hears of a unit by its key: its status once it is settled, or why it was moved aside."""
Spent = Callable[[], str]
"""Says what the study has cost so far."""


def free() -> str:
    """Nothing to say: a stage that calls no model."""
    return ""


class Progress(Protocol):
    """Shows how far stages are."""

    def stage(
        self, name: str, total: int, spent: Spent = free
    ) -> contextlib.AbstractContextManager[Watch]:
        """Open a stage of `total` units; the watch is told of each as it is settled."""
        ...

    def say(self, line: str) -> None:
        """Show one line."""
        ...


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int, spent: Spent = free) -> Iterator[Watch]:  # noqa: ARG002
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
    def stage(self, name: str, total: int, spent: Spent = free) -> Iterator[Watch]:
        """Open a stage."""
        pace = Pace(total, self.clock)
        last = self.clock()
        settled: Counter[str] = Counter()
        seen: set[str] = set()
        self.say(f"{name}: {total:,} owed")

        def cost() -> str:
            return f"; {said}" if (said := spent()) else ""

        def watch(key: str, outcome: str) -> None:
            nonlocal last
            if outcome not in set(Status):
                self.say(f"{key}: {outcome}")
                return
            if key in seen or f"/{name}/" not in key:
                return
            seen.add(key)
            settled[outcome] += 1
            pace.settled(len(seen))
            if self.clock() - last >= self.every and len(seen) < total:
                last = self.clock()
                self.say(f"{name}: {len(seen):,}/{total:,}, {pace.rate}, {pace.left} left{cost()}")

        yield watch
        rejected = f", {settled['rejected']:,} rejected" if settled["rejected"] else ""
        self.say(f"{name}: {len(seen):,}/{total:,} settled{rejected} in {pace.elapsed}{cost()}")

    def say(self, line: str) -> None:
        """Print a line at once."""
        print(line, flush=True)


class Bars:
    """A bar a stage, with rate, elapsed and remaining time, and below it what the study has cost
    so far.
    """

    @contextlib.contextmanager
    def stage(self, name: str, total: int, spent: Spent = free) -> Iterator[Watch]:
        """Open a bar."""
        pace = Pace(total)
        seen: set[str] = set()
        with _bar(pace, spent) as bar:
            task = bar.add_task(name, total=total)

            def watch(key: str, outcome: str) -> None:
                if outcome not in set(Status):
                    bar.console.print(f"{key}: {outcome}", markup=False, highlight=False)
                elif key not in seen and f"/{name}/" in key:
                    seen.add(key)
                    pace.settled(len(seen))
                    bar.update(task, completed=len(seen))

            yield watch

    def say(self, line: str) -> None:
        """Print a line."""
        print(line, flush=True)


class Pace:
    """How fast the units of a stage are settled, from its beginning to the last of them."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._begun = self._last = clock()
        self._seen = 0

    def settled(self, seen: int) -> None:
        """So many are settled now."""
        self._seen, self._last = seen, self._clock()

    @property
    def elapsed(self) -> str:
        """Since the beginning."""
        return _clock(self._clock() - self._begun)

    @property
    def rate(self) -> str:
        """Units in a second or a minute; nothing before the first."""
        rate = self._seen / max(self._last - self._begun, 1e-9)
        if not self._seen:
            return ""
        return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"

    @property
    def left(self) -> str:
        """Until the last, if it goes on like this; nothing before the first."""
        if not self._seen:
            return ""
        whole = (self._last - self._begun) * self._total / self._seen
        return _clock(max(0.0, self._begun + whole - self._clock()))


def for_terminal() -> Progress:
    """Bars where someone watches, lines where a log is written."""
    return Bars() if terminal.can_be_drawn_on() else Lines()


def _bar(pace: Pace, spent: Spent) -> Bar:
    from rich.console import RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column
    from rich.text import Text

    class Times(ProgressColumn):
        """Rate, what has elapsed, what is left."""

        def render(self, task: Task) -> Text:
            left = f", {pace.left} left" if pace.left and not task.finished else ""
            return Text(f"{pace.rate} {pace.elapsed} elapsed{left}".lstrip())

    class WithCost(Bar):
        """The bar, and a line below it."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            if said := spent():
                yield Text(f"{'':10} {said}", no_wrap=True, overflow="ellipsis")

    name = TextColumn("{task.description:>10}", markup=False)
    drawn = BarColumn(bar_width=None, table_column=Column(ratio=1))  # it has what the rest leaves
    return WithCost(name, drawn, MofNCompleteColumn(), Times(Column(no_wrap=True)), expand=True)


def _clock(seconds: float) -> str:
    """`45 s`, `3:20`, `2:05:00`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
