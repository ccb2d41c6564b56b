"""Live figures of a run: speed, memory and what is left, from the steps that this run has made."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from cbt_ray.training.backend.job import MadeStep
from cbt_ray.training.backend.memory import peak_gib
from cbt_ray.training.measured import Point
from cbt_ray.training.preference import PairFigures


@dataclass
class Figures:
    """Counts from the first step of this run on.

    A run that continues begins after the steps before it.
    """

    steps: int
    began: float
    first: int = 0
    tokens: int = 0
    since: float = field(default_factory=time.monotonic)

    def begin(self, step: int, tokens: int) -> None:
        """The first step begins."""
        self.first, self.tokens, self.since = step, tokens, time.monotonic()

    def progress(
        self,
        step: int,
        tokens: int,
        entry: dict[str, float],
        measured: tuple[Point, ...],
        pairs: PairFigures | None,
    ) -> MadeStep:
        """A step that was made."""
        now = time.monotonic()
        spent = max(now - self.since, 1e-9)
        return MadeStep(
            step,
            self.steps,
            entry["loss"],
            entry.get("grad_norm", math.nan),
            tokens,
            now - self.began,
            measured,
            peak_gib(),
            (tokens - self.tokens) / spent,
            (self.steps - step) * spent / max(step - self.first, 1),
            entry.get("learning_rate", math.nan),
            pairs,
        )
