"""Training's checkpoints: where they go, which one is taken up again, and how SIGTERM asks for
one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cbt_ray.errors import Infrastructure
from cbt_ray.store.store import Store, sha256_of
from cbt_ray.unit import Key, canonical

log = logging.getLogger(__name__)
KEPT = 2


class Checkpoints(Protocol):
    """Where a training's checkpoints are kept.

    A checkpoint is a folder that the backend wrote and reads back.
    """

    def save(self, step: int, folder: Path, batches: int = 0) -> None:
        """Keep the checkpoint of a step, and of some batches of the next one."""
        ...

    def latest(self) -> tuple[int, Path] | None:
        """The last whole checkpoint and its step, or None where training has to begin anew."""
        ...


class _Place(NamedTuple):
    """How far a training came: whole steps, and batches of the next one."""

    step: int
    batches: int = 0

    @classmethod
    def of(cls, name: str) -> _Place:
        return cls(*map(int, name.split("-")[1:]))

    @property
    def name(self) -> str:
        return f"step-{self.step:06d}" + (f"-{self.batches:04d}" if self.batches else "")


class StoreCheckpoints:
    """Checkpoints in the store, under `<study>/checkpoints/<id>/<h16>/<data>/`: a tar a step and a
    mark with its SHA-256.

    `data` is the digest of the dataset: what was trained on another one is no beginning for this
    training.

    The mark is written last, so a torn upload has none or one that does not match; it is passed
    over and the checkpoint before it is used. The last two are kept.
    """

    def __init__(self, store: Store, key: Key, work: Path, data: str) -> None:
        self._store = store
        self._prefix = f"{_folder(key)}{data}/"
        self._work = work

    def save(self, step: int, folder: Path, batches: int = 0) -> None:
        """Pack the folder, upload it, write its mark, drop all but the last two."""
        self._work.mkdir(parents=True, exist_ok=True)
        place = _Place(step, batches)
        packed = self._work / f"{place.name}.tar"
        with tarfile.open(packed, "w") as tar:
            tar.add(folder, arcname=".")
        # what lies there is torn or from before a rerun; a mark must never vouch for another tar
        self._drop(place)
        self._store.upload(packed, self._path(place, "tar"))
        mark = {"step": step, "sha256": sha256_of(packed), "size": packed.stat().st_size}
        self._store.replace(self._path(place, "json"), canonical(mark))
        packed.unlink()
        for old in self._places()[:-KEPT]:
            self._drop(old)

    def latest(self) -> tuple[int, Path] | None:
        """Fetch and unpack the last whole checkpoint."""
        for place in reversed(self._places()):
            folder = self._fetch(place)
            if folder is not None:
                return place.step, folder
            log.warning(
                "checkpoint %s%s: torn; the one before it is used", self._prefix, place.name
            )
        return None

    def _fetch(self, place: _Place) -> Path | None:
        self._work.mkdir(parents=True, exist_ok=True)
        packed, folder = (
            self._work / f"fetched-{place.name}.tar",
            self._work / f"fetched-{place.name}",
        )
        mark = self._mark(place)
        if mark is None or not self._store.download(self._path(place, "tar"), packed):
            return None
        if sha256_of(packed) != mark.get("sha256"):
            return None
        folder.mkdir(exist_ok=True)
        with tarfile.open(packed) as tar:
            _unpack(tar, folder)
        packed.unlink()
        return folder

    def _mark(self, place: _Place) -> dict[str, Any] | None:
        data = self._store.read(self._path(place, "json"))
        with contextlib.suppress(ValueError):
            mark = json.loads(data or b"")
            return mark if isinstance(mark, dict) else None
        return None

    def _places(self) -> list[_Place]:
        """Where there is a tar or a mark, ascending."""
        names = {Path(path).stem for path in self._store.list(self._prefix)}
        return sorted(_Place.of(name) for name in names if name.startswith("step-"))

    def _drop(self, place: _Place) -> None:
        self._store.delete(self._path(place, "json"))
        self._store.delete(self._path(place, "tar"))

    def _path(self, place: _Place, kind: str) -> str:
        return f"{self._prefix}{place.name}.{kind}"


def clear_checkpoints(store: Store, key: Key) -> None:
    """Drop all checkpoints of a unit that is in the store, on whatever data."""
    for path in list(store.list(_folder(key))):
        store.delete(path)


def _folder(key: Key) -> str:
    return f"{key.study}/checkpoints/{key.id}/{key.h16}/"


@contextlib.contextmanager
def sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets while the block runs.

    Only a process's main thread may install a handler; in another the event is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack plain files below a folder.

    Debian 12's Python 3.11.2 has no `filter="data"` that would see to it.
    """
    members = tar.getmembers()
    for member in members:
        if (
            not (member.isreg() or member.isdir())
            or Path(member.name).is_absolute()
            or ".." in Path(member.name).parts
        ):
            raise Infrastructure(f"checkpoint: {member.name}: expected plain files only", "store")
    tar.extractall(folder, members)  # noqa: S202  checked above
