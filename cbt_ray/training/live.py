"""Live figures of a training: what each step measured, as JSON lines in the store, for people who
wait and for the report.

They lie under `<study>/training/<id>/<h16>.jsonl`, beside the unit and not in it: how fast a step
was differs between two equal trainings. S3 has no append, so the whole small file is written again
every few seconds. A run that continues from a checkpoint takes the file up, drops the steps after
the checkpoint, which are made once more, and marks where it went on.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from cbt_ray.errors import CbtRayError
from cbt_ray.store import Store
from cbt_ray.training import event_file
from cbt_ray.training.measured import Point, json_of, points_of
from cbt_ray.unit import Key

log = logging.getLogger(__name__)
SHARE = 0.05
"""Most of a training's time that writing may take: a slow store is written to less often."""
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One optimizer step as it was measured; None: not measured, or no finite number."""

    step: int
    steps: int
    loss: float | None = None
    measured: Sequence[Point] = ()
    """Losses by split that were taken since the step before."""
    grad_norm: float | None = None
    learning_rate: float | None = None
    tokens: int | None = None
    """Fed so far, all runs of this training together."""
    tokens_per_second: float | None = None
    memory_gib: float | None = None
    left_s: float | None = None
    seconds: float | None = None
    """Since this run of the training began."""
    preferred: float | None = None
    """Of the step's preference pairs: what `PairFigures` says of them."""
    margin: float | None = None
    log_p_chosen: float | None = None
    log_p_rejected: float | None = None
    nll: float | None = None
    odds: float | None = None


@dataclass(frozen=True)
class Record:
    """What the store holds of a training's live figures."""

    steps: Sequence[Step] = ()
    resumed: Sequence[int] = ()
    """Steps after which a later run took the training up; 0: it began anew."""
    updated: datetime | None = None
    """When the last line was written."""

    @property
    def measured(self) -> list[Point]:
        """All losses by split, each point once."""
        found = {point.step: point for step in self.steps for point in step.measured}
        return [found[step] for step in sorted(found)]


class Live:
    """Takes steps and keeps them in the store.

    A store that fails is reported once, and the training goes on.

    With `tensorboard`, an event file of all steps is put beside them when this run of the training
    ends.
    """

    def __init__(
        self,
        store: Store,
        key: Key,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = 5.0,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        tensorboard: bool = False,
    ) -> None:
        self._store, self._key, self._clock, self._every_s, self._now = (
            store,
            key,
            clock,
            every_s,
            now,
        )
        self._tensorboard = tensorboard
        self._next = -math.inf
        self._before: list[Line] | None = (
            None  # of earlier runs; unknown until the store has answered
        )
        self._own: list[Line] = []
        self._written = 0
        self._failed = False
        if tensorboard:
            event_file.must_be_there()

    def __call__(self, step: Step) -> None:
        """Keep a step; write, where the last writing is a while ago."""
        self._own.append(_line_of(step, self._now()))
        if self._clock() >= self._next:
            self._write()

    def close(self) -> None:
        """Write what is not written yet, and the event file."""
        if len(self._own) > self._written:
            self._write()
        if self._tensorboard and self._own:
            self._guarded(self._write_events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        began = self._clock()
        self._guarded(self._replace)
        ended = self._clock()
        self._next = ended + max(self._every_s, (ended - began) / SHARE)

    def _replace(self) -> None:
        lines = self._lines()
        self._store.replace(path_of(self._key), b"".join(map(_packed, lines)))
        self._written = len(self._own)

    def _lines(self) -> list[Line]:
        """Those of earlier runs up to where this one took the training up, and its own."""
        if self._before is None:
            self._before = _taken_up(self._store.read(path_of(self._key)), self._own[0])
        return [*self._before, *self._own]

    def _write_events(self) -> None:
        path = f"{_place(self._key)}.tensorboard/{event_file.NAME}"
        self._store.replace(
            path, event_file.events_of(line for line in self._lines() if "step" in line)
        )

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (CbtRayError, OSError) as error:
            if not self._failed:
                log.warning(
                    "%s: live figures could not be written (%s); the training goes on",
                    self._key,
                    error,
                )
            self._failed = True


def path_of(key: Key) -> str:
    """Where the live figures of the training that makes a unit lie."""
    return f"{_place(key)}.jsonl"


def read_record(store: Store, key: Key) -> Record:
    """The live figures of a training, as far as they are whole.

    An empty record where there are none.
    """
    lines = list(_whole(store.read(path_of(key)) or b""))
    steps = {
        line["step"]: Step(
            **{name: line[name] for name in _NUMBERS}, measured=points_of(line["measured"])
        )
        for line in lines
        if "step" in line
    }
    times = [at for line in lines if (at := _time(line["at"])) is not None]
    resumed = [line["resumed"] for line in lines if "resumed" in line]
    return Record([steps[number] for number in sorted(steps)], resumed, max(times, default=None))


_NUMBERS = [field.name for field in fields(Step) if field.name != "measured"]
_COUNTS = {"step", "steps", "tokens"}


def _place(key: Key) -> str:
    return f"{key.study}/training/{key.id}/{key.h16}"


def _line_of(step: Step, at: datetime) -> Line:
    return {**_cleaned(asdict(step)), "at": at.isoformat(timespec="seconds")}


def _taken_up(data: bytes | None, first: Line) -> list[Line]:
    """What stays of an earlier run's lines when this one's first step is `first`, and the mark of
    where it went on.
    """
    known, behind = list(_whole(data or b"")), first["step"] - 1
    kept = [line for line in known if line.get("step", line.get("resumed")) <= behind]
    return [*kept, {"resumed": behind, "at": first["at"]}] if known or behind else []


def _packed(line: Line) -> bytes:
    return json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _whole(data: bytes) -> Iterator[Line]:
    """The lines that are steps or marks; torn and foreign ones are passed over."""
    for text in data.splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(line, dict):
            continue
        at = line["at"] if isinstance(line.get("at"), str) else ""
        if _count(line.get("resumed")) is not None:
            yield {"resumed": line["resumed"], "at": at}
        elif _count(line.get("step")) is not None and _count(line.get("steps")) is not None:
            yield {**_cleaned(line), "at": at}


def _cleaned(line: Mapping[str, Any]) -> dict[str, Any]:
    """A step's numbers: counts as they are, the others to six digits; and its losses by split.

    Null for what is absent or no finite number.
    """
    numbers = {name: (_count if name in _COUNTS else _number)(line.get(name)) for name in _NUMBERS}
    return {**numbers, "measured": json_of(points_of(line.get("measured")))}


def _count(value: object) -> int | None:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
        else None
    )


def _number(value: Any) -> float | None:
    try:
        number = float(f"{float(value):.6g}")
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
