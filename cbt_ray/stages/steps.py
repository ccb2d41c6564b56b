"""Steps: what is said of a training or an export while it goes on, to whoever waits, and of a
training to the store.
"""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from cbt_ray.study.model import Checkpoint
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench

if TYPE_CHECKING:
    from cbt_ray.training.backend.job import MadeStep
    from cbt_ray.training.live import Live
    from cbt_ray.training.live import Step as LiveStep

EVERY_S = 5.0
"""Seconds between two lines about training's steps."""


class Steps:
    """Tells how far a model's stage is: its parts as they begin, its steps every few seconds."""

    def __init__(
        self, bench: Bench, stage: Stage, made: Checkpoint, live: Live | None = None
    ) -> None:
        self.say = bench.progress.say
        self.name = f"{stage}: {made.title}"
        self.live = live
        self.last = time.monotonic()

    def part(self, part: str) -> None:
        """Tell of a part that begins."""
        self.say(f"{self.name}: {part}")

    def __call__(self, step: MadeStep) -> None:
        """Tell of a step, and keep it."""
        if self.live is not None:
            self.live(_live_step(step))
        for point in step.measured:
            self.say(f"{self.name}: loss at {point.said}")
        if time.monotonic() - self.last < EVERY_S and step.step < step.steps:
            return
        self.last = time.monotonic()
        preferred = (
            f", chosen likelier in {step.pairs.preferred:.0%}" if step.pairs is not None else ""
        )
        self.say(
            f"{self.name}: step {step.step}/{step.steps}, loss "
            f"{step.loss:.3f}{preferred}, "
            f"{step.tokens_per_second:.0f} tokens/s, {step.memory_gib:.1f} GiB, {step.left_s:.0f} "
            "s left"
        )


def _live_step(step: MadeStep) -> LiveStep:
    from cbt_ray.training.live import Step as LiveStep

    known = {field.name: getattr(step, field.name) for field in fields(step)}
    pairs = known.pop("pairs")
    return LiveStep(**known, **(asdict(pairs) if pairs is not None else {}))
