"""Clock: how long each part of a training or an export took, told to whoever waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds of each part, and a word to whoever waits when one begins."""

    say: Callable[[str], None]
    _began: list[tuple[str, float]] = field(default_factory=list)

    def __call__(self, part: str) -> None:
        """A part begins, and the one before it ends."""
        self.say(part)
        self._began.append((part, time.monotonic()))

    @property
    def seconds(self) -> dict[str, float]:
        """Of each part; the last one ends now."""
        ends = [at for _, at in self._began[1:]] + [time.monotonic()]
        return {part: round(end - at, 1) for (part, at), end in zip(self._began, ends, strict=True)}
