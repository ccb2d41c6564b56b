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
from typing import Any, Protocol

from cbt_ray.errors import Infrastructure
from cbt_ray.store.store import Store, sha256_of
from cbt_ray.unit import Key, canonical

log = logging.getLogger(__name__)
KEPT = 2


class Checkpoints(Protocol):
    """Where a training's checkpoints are kept.

    A checkpoint is a folder that the backend wrote and reads back.
    """

    def save(self, step: int, folder: Path) -> None:
        """Keep the checkpoint of a step."""
        ...

    def latest(self) -> tuple[int, Path] | None:
        """The last whole checkpoint and its step, or None where training has to begin anew."""
        ...


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

    def save(self, step: int, folder: Path) -> None:
        """Pack the folder, upload it, write its mark, drop all but the last two."""
        self._work.mkdir(parents=True, exist_ok=True)
        packed = self._work / f"{_name(step)}.tar"
        with tarfile.open(packed, "w") as tar:
            tar.add(folder, arcname=".")
        self._drop(
            step
        )  # what lies there is torn or from before a rerun; a mark must never vouch for another tar
        self._store.upload(packed, self._path(step, "tar"))
        mark = {"step": step, "sha256": sha256_of(packed), "size": packed.stat().st_size}
        self._store.replace(self._path(step, "json"), canonical(mark))
        packed.unlink()
        for old in self._steps()[:-KEPT]:
            self._drop(old)

    def latest(self) -> tuple[int, Path] | None:
        """Fetch and unpack the last whole checkpoint."""
        for step in reversed(self._steps()):
            folder = self._fetch(step)
            if folder is not None:
                return step, folder
            log.warning(
                "checkpoint %s%s: torn; the one before it is used", self._prefix, _name(step)
            )
        return None

    def _fetch(self, step: int) -> Path | None:
        self._work.mkdir(parents=True, exist_ok=True)
        packed, folder = (
            self._work / f"fetched-{_name(step)}.tar",
            self._work / f"fetched-{_name(step)}",
        )
        mark = self._mark(step)
        if mark is None or not self._store.download(self._path(step, "tar"), packed):
            return None
        if sha256_of(packed) != mark.get("sha256"):
            return None
        folder.mkdir(exist_ok=True)
        with tarfile.open(packed) as tar:
            _unpack(tar, folder)
        packed.unlink()
        return folder

    def _mark(self, step: int) -> dict[str, Any] | None:
        data = self._store.read(self._path(step, "json"))
        with contextlib.suppress(ValueError):
            mark = json.loads(data or b"")
            return mark if isinstance(mark, dict) else None
        return None

    def _steps(self) -> list[int]:
        """Steps of which there is a tar or a mark, ascending."""
        names = {Path(path).stem for path in self._store.list(self._prefix)}
        return sorted(int(name.removeprefix("step-")) for name in names if name.startswith("step-"))

    def _drop(self, step: int) -> None:
        self._store.delete(self._path(step, "json"))
        self._store.delete(self._path(step, "tar"))

    def _path(self, step: int, kind: str) -> str:
        return f"{self._prefix}{_name(step)}.{kind}"


def clear_checkpoints(store: Store, key: Key) -> None:
    """Drop all checkpoints of a unit that is in the store, on whatever data."""
    for path in list(store.list(_folder(key))):
        store.delete(path)


def _folder(key: Key) -> str:
    return f"{key.study}/checkpoints/{key.id}/{key.h16}/"


def _name(step: int) -> str:
    return f"step-{step:06d}"


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
