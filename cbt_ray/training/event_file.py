"""TensorBoard's event file of a training, made of its live figures when a run ends, so that a
killed run leaves no gap in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.extra import need
from cbt_ray.training.measured import points_of

NAME = "events.out.tfevents.0.cbt-ray"
"""TensorBoard reads files with `tfevents` in their names. The package would put this machine's name
and the time into it."""
TAGS = {
    "loss": "loss/training",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    **{
        name: f"pairs/{name}"
        for name in ("preferred", "margin", "log_p_chosen", "log_p_rejected", "nll", "odds")
    },
    "tokens_per_second": "tokens_per_second",
    "memory_gib": "memory_gib",
}


def must_be_there() -> None:
    """Raise InputError where the package that writes event files is absent, before anything is
    trained.
    """
    try:
        need("tensorboardX")
    except InputError as error:
        raise InputError(f"tensorboard: {error}, or `tensorboard: false`") from None


def events_of(steps: Iterable[Mapping[str, Any]]) -> bytes:
    """The event file of steps, each a document with its number, its time (`at`) and what was
    measured (null: left out).
    """
    from tensorboardX import SummaryWriter

    with tempfile.TemporaryDirectory(prefix="cbt-ray-") as folder:
        with SummaryWriter(folder) as writer:
            for step in steps:
                at = _seconds(step["at"])
                for name, tag in TAGS.items():
                    if step.get(name) is not None:
                        writer.add_scalar(tag, step[name], step["step"], walltime=at)
                for point in points_of(step.get("measured")):
                    for split, loss in point.loss.items():
                        if loss is not None:
                            writer.add_scalar(f"loss/{split}", loss, point.step, walltime=at)
        (file,) = Path(folder).iterdir()
        return file.read_bytes()


def _seconds(at: str) -> float:
    """Seconds since 1970; 0 where the line does not say."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return 0.0
