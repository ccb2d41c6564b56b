"""Trainings of the tiny model: checkpoints in a folder that can die, and what is compared between
two runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from cbt_ray.training.backend.job import Job, Trained
from cbt_ray.training.backend.loss import NEVER, mean_loss
from cbt_ray.training.mask import Window

if TYPE_CHECKING:  # where the trainings of the real Unsloth run there is no pytest
    import pytest

Batches = list[dict[str, Any]]
Train = Callable[..., Trained]
UNLIKE = "unlike"


class Seen(NamedTuple):
    """A training, what the model was fed in it, and the kernels that ran."""

    trained: Trained
    batches: Batches
    kernels: set[str]


class Killed(Exception):
    """What stands for kill -9 in the same process."""


@dataclass
class Kept:
    """Checkpoints in a folder; dies once behind each of some steps."""

    folder: Path
    die_behind: set[int] = field(default_factory=set)
    steps: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    last: Path = Path()

    def save(self, step: int, folder: Path, batches: int = 0) -> None:
        self.last = self.folder / f"{step}-{batches}"
        shutil.copytree(folder, self.last)
        self.steps.append(step)
        self.batches.append(batches)
        if step in self.die_behind:
            self.die_behind.remove(step)
            raise Killed

    def latest(self) -> tuple[int, Path] | None:
        return (self.steps[-1], self.last) if self.steps else None


class Nowhere:
    """Where a training is too short for checkpoints."""

    def save(self, step: int, folder: Path, batches: int = 0) -> None: ...

    def latest(self) -> tuple[int, Path] | None:
        return None


def weights(trained: Trained) -> bytes:
    return (trained.adapter / "adapter_model.safetensors").read_bytes()


def lasting(trained: Trained) -> dict[str, Any]:
    """What two equal trainings measure alike."""
    return {
        name: value
        for name, value in trained.metrics.items()
        if name not in {"seconds", "resumed_from"}
    }


def watch(monkeypatch: pytest.MonkeyPatch, backend: Any, record: Callable[..., None]) -> None:
    """Have `record` see the arguments of every forward pass of the model that a backend's module
    makes.
    """
    made_by = backend.adapted_model

    def watched(job: Job) -> Any:
        model = made_by(job)
        model.register_forward_pre_hook(record, with_kwargs=True)
        return model

    monkeypatch.setattr(backend, "adapted_model", watched)


@contextmanager
def fed(backend: Any) -> Iterator[Batches]:
    """The tensors that the model of a backend's module is fed in training."""
    batches: Batches = []
    made_by = backend.adapted_model

    def record(module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if module.training:
            named = sorted(inputs.items())
            batches.append({n: one.tolist() for n, one in named if hasattr(one, "tolist")})

    def watched(job: Job) -> Any:
        model = made_by(job)
        model.register_forward_pre_hook(record, with_kwargs=True)
        return model

    backend.adapted_model = watched
    try:
        yield batches
    finally:
        backend.adapted_model = made_by


def unlike(windows: Sequence[Window]) -> list[Window]:
    """Windows that `turned` takes for such as the model becomes worse at."""
    return [replace(one, patient=UNLIKE) for one in windows]


def turned(model: Any, windows: Sequence[Window], broken_off: Event = NEVER) -> float | None:
    """In place of `mean_loss`: what falls, rises on windows that are unlike those of the training,
    so the first epoch is the best one.
    """
    loss = mean_loss(model, windows, broken_off)
    return -loss if loss is not None and windows[0].patient == UNLIKE else loss
