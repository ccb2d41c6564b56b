"""A store in a local folder.

Writing once is os.link of a finished temporary file: it fails where the name exists.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store.store import CHUNK, HIDDEN, Blob, Store, arriving, drop_stale, sha256_of


class FolderStore(Store):
    """Objects are files below `root`.

    Temporary files lie in `root/.tmp`, on the same file system.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))  # a Ray worker may run in another folder
        self.url = str(self.root)

    def where(self, path: str) -> str:
        return str(self.root / path)

    def create(self, path: str, data: bytes) -> bool:
        with self._mapped(), self._finished(data) as temporary:
            try:
                os.link(temporary, self._target(path))
            except FileExistsError:
                if self._file(path).is_dir():  # it would be made again for ever
                    raise InputError(
                        f"{self._file(path)}: expected a file, found a folder"
                    ) from None
                return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        with self._mapped(), self._finished(data) as temporary:
            temporary.replace(self._target(path))

    def read(self, path: str) -> bytes | None:
        with self._mapped():
            try:
                with FileIO(self._place(path)) as stream:
                    return stream.readall()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None

    def size(self, path: str) -> int | None:
        with self._mapped():
            file = self._file(path)
            return file.stat().st_size if file.is_file() else None

    def move(self, source: str, target: str) -> None:
        with self._mapped(), contextlib.suppress(FileNotFoundError):
            self._file(source).rename(self._target(target))

    def delete(self, path: str) -> None:
        with self._mapped(), contextlib.suppress(NotADirectoryError):
            self._file(path).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        with self._mapped():
            found = sorted(self._walk(prefix))
        yield from found

    def upload(self, file: Path, path: str, sha256: str | None = None) -> None:
        with self._mapped(), self._temporary() as temporary:
            with file.open("rb") as source, temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK)
                copy.flush()
                _sync(copy.fileno())
            if sha256 is not None and sha256_of(temporary) != sha256:
                raise Infrastructure(
                    f"{file}: changed while it was written to {self.where(path)}", "store"
                )
            temporary.replace(self._target(path))

    def holds(self, blob: Blob, *, thorough: bool = False) -> bool:  # noqa: ARG002 (here it is always read)
        with self._mapped():
            return (
                self.size(blob.path) == blob.size
                and sha256_of(self._file(blob.path)) == blob.sha256
            )

    def download(self, path: str, file: Path) -> bool:
        source = self._file(path)
        with self._mapped():
            if not source.is_file():
                return False
            if file.exists() and source.samefile(file):  # read in place
                return True
            with arriving(file) as temporary:
                shutil.copyfile(source, temporary)
                temporary.replace(file)
        return True

    def check(self) -> None:
        try:
            kept = self.writes_once()
            for left in (self.root / HIDDEN).iterdir():
                drop_stale(left)
        except (OSError, Infrastructure) as error:
            raise InputError(
                f"store: {self.root}: expected a folder that can be written ({_reason(error)})"
            ) from error
        if not kept:
            raise InputError(
                f"store: {self.root}: expected a file system on which a hard link is refused where "
                "the name exists"
            )

    def _file(self, path: str) -> Path:
        return Path(self._place(path))

    def _place(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"no path inside the store: {path}")
        return f"{self.url}/{path}"  # a large study has ten thousand; a Path takes longer

    def _target(self, path: str) -> Path:
        target = self._file(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _walk(self, prefix: str) -> Iterator[str]:
        """Descend only where the prefix leads.

        A folder that cannot be read is a fault: its units must not look owed.
        """
        if prefix.startswith(HIDDEN):
            return
        waiting = [prefix[: prefix.rfind("/") + 1]]
        while waiting:
            base = waiting.pop()
            for name, is_folder in _entries(f"{self.url}/{base}"):
                path = base + name
                if is_folder and _leads(f"{path}/", prefix):
                    waiting.append(f"{path}/")
                elif not is_folder and path.startswith(prefix):
                    yield path

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Infrastructure(f"store {self.root}: {error}", "store") from error

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self.root / HIDDEN
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / uuid.uuid4().hex
        temporary.touch(
            exist_ok=False
        )  # mkstemp's mode 0600 would lock out the containers' other users
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _finished(self, data: bytes) -> Iterator[Path]:
        with self._temporary() as temporary:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                _sync(stream.fileno())
            yield temporary


def _leads(folder: str, prefix: str) -> bool:
    """Whether a folder's objects can begin with the prefix."""
    return folder != HIDDEN and (folder.startswith(prefix) or prefix.startswith(folder))


def _entries(folder: str) -> list[tuple[str, bool]]:
    """What is in a folder: names, and whether each is a folder; nothing where it is gone.

    Links to folders are left out.
    """
    try:
        with os.scandir(folder) as entries:
            return [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not (entry.is_symlink() and Path(entry.path).is_dir())
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return cause.strerror or str(cause) if isinstance(cause, OSError) else str(cause)


def _sync(descriptor: int) -> None:
    """Have the bytes on the disk before their name is: a power cut leaves a whole unit or none."""
    os.fsync(descriptor)
