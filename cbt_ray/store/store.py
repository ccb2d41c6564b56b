"""What a store can do: write once, read with a checksum, list.

And how units and large files (blobs) lie in it.

<study>/<stage>/<id>/<h16>                 a unit, one JSON document
<study>/blobs/<stage>/<id>/<sha256>-<name> a large file that a unit names (GGUF, dataset), by its
content <study>/checkpoints/...                    training's checkpoints, dropped when the unit is
done <study>/training/<id>/<h16>.jsonl          what each step of a training measured; stays beside
the unit <study>/training/<id>/<h16>.tensorboard/   the same for TensorBoard, where a recipe asks
for it <study>/preferences/<sha256>-<name>        preference pairs that `submit` brought for the
cluster's pods <study>/usage/...                          what calls cost, one record a unit attempt
<study>/aside/<path>.<h16>                 what failed its checksum, was rejected and is tried
again, or made from another text weights/<org--name>/...                    weights that a recipe
names by their hub id, for all studies of the store .tmp/...
temporary; never listed
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import logging
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.unit import Head, Key, OtherFormat, Unit

log = logging.getLogger(__name__)
CHUNK = 1 << 20
HIDDEN = ".tmp/"
TRIES = 5
GRACE_S = 2.0
STALE_S = 24 * 3600.0
Kind = TypeVar("Kind", Unit, Head)
Asked = TypeVar("Asked")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Blob:
    """A large file in the store: its path there, its SHA-256 and size in bytes."""

    path: str
    sha256: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in the unit that names it."""
        return {"path": self.path, "sha256": self.sha256, "size": self.size}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Blob:
        """Read back from a unit's content."""
        return cls(value["path"], value["sha256"], value["size"])


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def arriving(file: Path) -> Iterator[Path]:
    """A temporary file beside `file`, to be renamed to it when it is whole.

    Old ones of killed processes go first.
    """
    _parts_of(file)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def going_on(file: Path, version: str) -> Iterator[BinaryIO]:
    """What an earlier attempt fetched of this version of `file`, open at its end.

    Renamed to `file` when the block ends well.

    It stays where the block does not, for the next attempt. Locked: no two processes write it.
    """
    part = file.with_name(f".{file.name}.{version}.part")
    _parts_of(file, but=part)
    with _held(part) as stream:
        yield stream
        stream.flush()
        part.replace(file)


@contextmanager
def _held(part: Path) -> Iterator[BinaryIO]:
    """The file, open for appending and locked.

    Opened anew where its last holder renamed it meanwhile.
    """
    while True:
        with part.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not part.exists() or not os.path.samestat(os.fstat(stream.fileno()), part.stat()):
                continue
            stream.seek(0, os.SEEK_END)
            yield stream
            return


def _parts_of(file: Path, but: Path | None = None) -> None:
    """Make the folder, and drop what killed processes left of a file in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for left in file.parent.glob(f".{glob.escape(file.name)}.*.part*"):
        if left != but:
            drop_stale(left)


def drop_stale(file: Path) -> None:
    """Remove a temporary file that nobody wrote to for a day: its process is dead."""
    try:
        if time.time() - file.stat().st_mtime > STALE_S:
            file.unlink()
    except FileNotFoundError:
        pass


class Store(ABC):
    """Objects under paths.

    The primitives differ between a folder and S3; all else is written once, here.
    """

    url: str

    @abstractmethod
    def where(self, path: str) -> str:
        """An object as messages name it."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Write once, atomically: True if this call made the object, False if it was there
        already.
        """

    @abstractmethod
    def replace(self, path: str, data: bytes) -> None:
        """Write or overwrite, atomically.

        Only for what people read (report, live figures) and training's checkpoint marks.
        """

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """The object's bytes, or None where there is none."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """The object's size in bytes, or None where there is none."""

    @abstractmethod
    def move(self, source: str, target: str) -> None:
        """Rename an object; no error where another process moved it first."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove an object; no error where it is gone."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[str]:
        """Paths of all objects that begin with a prefix, sorted.

        A prefix is text as on S3: end it with "/" for a folder.
        """

    @abstractmethod
    def upload(self, file: Path, path: str, sha256: str | None = None) -> None:
        """Write a large file, streamed (in parts on S3); atomic: it appears whole or not at all.

        With `sha256`, only if the bytes that are written have it; raises Infrastructure where the
        file changed meanwhile. To S3 an attempt that was killed goes on where it ended, and what
        the server holds is compared with what was sent.
        """

    @abstractmethod
    def holds(self, blob: Blob, *, thorough: bool = False) -> bool:
        """Whether it holds a blob whole: by size and SHA-256 in a folder, on S3 by size unless
        `thorough`, which reads it.
        """

    @abstractmethod
    def download(self, path: str, file: Path) -> bool:
        """Fetch a large file, streamed, into a temporary file first; False where there is none.

        From S3 an attempt that was cut off goes on where it ended.
        """

    @abstractmethod
    def check(self) -> None:
        """Prove that the store can be written.

        Raises InputError (refused) or Infrastructure (out of reach).
        """

    # ---- units -----------------------------------------------------------------------------------

    def get(self, key: Key) -> Unit | None:
        """The unit under a key, or None where it is owed.

        One whose checksum fails is moved aside, reported, owed.

        Raises InputError where another release wrote it, whose units are not this one's to judge.
        """
        return self._get(key, Unit.from_bytes)

    def get_many(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Unit | None]]:
        """Many units, in the order of their keys; read side by side where that is faster (S3)."""
        keys = tuple(keys)
        yield from zip(keys, self._each(self.get, keys), strict=True)

    def heads(self, keys: Iterable[Key]) -> Iterator[Head]:
        """What stands before the contents of those units that are there: as `get`, in a fraction of
        the time.
        """
        found = self._each(lambda key: self._get(key, Head.from_bytes), tuple(keys))
        yield from (head for head in found if head is not None)

    def readable(self, paths: Iterable[str]) -> Iterator[Unit | None]:
        """The units at these paths without their contents, None for what this release cannot read;
        nothing is moved aside.
        """
        yield from self._each(self._readable, tuple(paths))

    def _readable(self, path: str) -> Unit | None:
        try:
            return Unit.without_content(self.read(path) or b"")
        except (ValueError, OtherFormat):
            return None

    def objects(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        """The bytes of many small objects, in the order of their paths."""
        yield from self._each(self.read, tuple(paths))

    def _each(self, read: Callable[[Asked], Found], keys: Sequence[Asked]) -> Iterator[Found]:
        """The answers for many keys or paths, in their order."""
        yield from map(read, keys)

    def _get(self, key: Key, parse: Callable[[bytes], Kind]) -> Kind | None:
        for _ in range(TRIES):
            data = self.read(str(key))
            if data is None:
                return None
            try:
                found = parse(data)
                if found.key != key:
                    raise ValueError(f"holds another unit, {found.key}")
                return found
            except ValueError as error:
                log.warning("%s: %s; moved aside, the unit is owed again", key, error)
                self.set_aside(str(key), data)
            except OtherFormat as error:
                raise InputError(f"{self.where(str(key))}: {error}") from None
        raise Infrastructure(
            f"{self.where(str(key))}: its document is torn again and again", "store"
        )

    def put(self, unit: Unit) -> Unit:
        """Write a unit once.

        The first writer wins: the answer is the unit that is in the store, ours or the winner's.
        """
        data = unit.to_bytes()
        for _ in range(TRIES):
            if self.create(str(unit.key), data):
                return unit
            winner = self.get(
                unit.key
            )  # None where it is torn: it is aside now, and its name is free
            if winner is not None:
                return winner
        raise Infrastructure(
            f"{self.where(str(unit.key))}: could be neither written nor read", "store"
        )

    def set_aside(self, path: str, seen: bytes | None = None) -> None:
        """Move an object under <study>/aside/, so that its path is free and nothing is lost.

        With `seen`, only as long as it holds these bytes. Of several processes that saw them, the
        one that makes the copy aside removes the original; the others wait for that, lest they
        remove what was written in its place.
        """
        study, rest = path.split("/", 1)
        if seen is None:
            self.move(path, f"{study}/aside/{rest}.{uuid.uuid4().hex[:16]}")
            return
        aside = f"{study}/aside/{rest}.{hashlib.sha256(seen).hexdigest()[:16]}"
        if not self.create(aside, seen):
            self._wait_while(path, seen)
        if (
            self.read(path) == seen
        ):  # still there: it is ours to remove, or the process that should have is dead
            self.delete(path)

    def _wait_while(self, path: str, seen: bytes) -> None:
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end and self.read(path) == seen:
            time.sleep(0.05)

    def writes_once(self) -> bool:
        """Try it: a second write under one name must be refused and leave the first one's bytes."""
        path = f"{HIDDEN}check-{uuid.uuid4().hex}"
        kept = (
            self.create(path, b"first")
            and not self.create(path, b"second")
            and self.read(path) == b"first"
        )
        self.delete(path)
        return kept

    # ---- blobs -----------------------------------------------------------------------------------

    def put_blob(self, key: Key, name: str, file: Path) -> Blob:
        """Store a large file that the unit under `key` will name.

        Its path holds its SHA-256, so equal files are one.
        """
        sha, size = sha256_of(file), file.stat().st_size
        path = f"{key.study}/blobs/{key.stage}/{key.id}/{sha}-{name}"
        blob = Blob(path, sha, size)
        if not self.holds(blob):
            self.upload(file, path, sha)
        return blob

    def fetch_blob(self, blob: Blob, file: Path, owner: Key | None = None) -> Path:
        """Bring a blob to a local file, checked by its SHA-256.

        A file that is there and right is kept.

        Raises Infrastructure where it is absent or its checksum fails (then it is moved aside
        first). `owner` is the unit that names the blob: it is moved aside with it, so that it is
        owed and made again.
        """
        if file.exists() and file.stat().st_size == blob.size and sha256_of(file) == blob.sha256:
            return file
        for _ in range(
            2
            # the second one from its first byte: a part that lay on this machine's disk may have
            # been harmed there
        ):
            if not self.download(blob.path, file):
                self._disown(owner)
                raise Infrastructure(f"{self.where(blob.path)}: missing from the store", "store")
            if sha256_of(file) == blob.sha256:
                return file
        log.warning("%s: its SHA-256 differs from its unit's; moved aside", blob.path)
        self.set_aside(blob.path)
        file.unlink(missing_ok=True)  # after it: in a folder store, `file` may be the blob itself
        self._disown(owner)
        raise Infrastructure(
            f"{self.where(blob.path)}: SHA-256 differs from its unit's; moved aside", "store"
        )

    def _disown(self, owner: Key | None) -> None:
        if owner is not None:
            log.warning("%s: its large file is lost; moved aside, the unit is owed again", owner)
            self.set_aside(str(owner), self.read(str(owner)))
