"""The interface behind which training runs: TRL + PEFT + bitsandbytes anywhere, Unsloth on CUDA."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cbt_ray.errors import InputError
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.checkpoint import Checkpoints
from cbt_ray.training.mask import Window
from cbt_ray.training.measured import Point
from cbt_ray.training.preference import Pair, PairFigures
from cbt_ray.training.start.base import Base


@dataclass(frozen=True)
class MadeStep:
    """One optimizer step that was made."""

    step: int
    steps: int
    loss: float
    grad_norm: float
    tokens: int
    """Tokens fed so far, all runs of this training together."""
    seconds: float
    """Since this run of the training began."""
    measured: tuple[Point, ...] = ()
    """Losses by split that were measured since the step before: after this one where an epoch ends,
    and with the first step those before it."""
    memory_gib: float = 0.0
    """Peak so far: of the GPU, without one of the process."""
    tokens_per_second: float = 0.0
    """Of this run's steps so far."""
    left_s: float = 0.0
    """What is left at this speed."""
    learning_rate: float = math.nan
    """With which the step was made."""
    pairs: PairFigures | None = None
    """Of the step's pairs, with `method: orpo`."""


Report = Callable[[MadeStep], None]


@dataclass(frozen=True)
class Job:
    """What is trained, on what and where."""

    recipe: Recipe
    base: Base
    train: list[Window]
    measured: Mapping[str, list[Window]]
    """Windows on which the loss is measured, by split."""
    work: Path
    threads: int
    pairs: list[Pair] = field(default_factory=list)
    """What `method: orpo` trains on in place of `train`."""
    held_out_pairs: list[Pair] = field(default_factory=list)
    """Pairs of patients that training does not see, where there are any."""
    say: Callable[[str], object] = lambda _line: None
    """Hears what a training will take, before its first step and behind its second."""


@dataclass(frozen=True)
class Trained:
    """The adapter and what its training measured (JSON)."""

    adapter: Path
    metrics: dict[str, Any] = field(default_factory=dict)


class Diverged(InputError):
    """The loss of a training became no number, and stays one."""


class Backend(Protocol):
    """Trains an adapter. Raises Owed when SIGTERM ended it with a checkpoint."""

    def train(self, job: Job, checkpoints: Checkpoints, report: Report) -> Trained:
        """Begin, or continue from the latest checkpoint, and train to the end."""
        ...
