"""A file from outside: a regular one, of a bounded size, in UTF-8 whatever the locale says.

A FIFO would wait for ever, /dev/zero has no end, and both can be named in a study file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cbt_ray.count import many
from cbt_ray.errors import InputError

LARGEST_TEXT = 64 << 20
"""Bytes of a file that is read whole; a real one of this size would be no text for people."""
LONGEST_NAME = 255
"""Bytes of a file's name, as file systems have it."""
LONGEST_PATH = 4_000
"""Bytes; Linux has 4,095 with what comes before it."""
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def located(name: str, base: Path = Path()) -> Path:
    """The path that a text names, relative to `base`, with `~` spelt out.

    Raises InputError where it can name none.
    """
    if "\0" in name or not name.strip():
        raise InputError(f"expected a path, found {name!r}")
    try:
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(name).parts):
            raise InputError(
                f"expected a path with names of at most {LONGEST_NAME} bytes, found "
                f"{name[:40]!r}..."
            )
        if len(os.fsencode(base / name)) > LONGEST_PATH:
            raise InputError(
                f"expected a path of at most {LONGEST_PATH:,} bytes, found {name[:40]!r}..."
            )
        return base / Path(name).expanduser()
    except (
        RuntimeError,
        UnicodeEncodeError,
    ):  # `~nosuch`: there is no such user; half a surrogate pair
        raise InputError(f"expected a path, found {name!r}") from None


@contextmanager
def opened(file: Path, name: str | None = None) -> Iterator[BinaryIO]:
    """A regular file, open for reading bytes; `name` stands for it in messages.

    Raises InputError, one line.
    """
    where = name or str(file)
    try:
        # Without O_NONBLOCK, opening a FIFO waits until somebody writes to it.
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"{where}: expected a file, there is none") from None
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where}: expected a readable file ({said})") from None
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        raise InputError(f"{where}: expected a regular file, it is {_KINDS.get(kind, 'none')}")
    with os.fdopen(handle, "rb") as stream:
        yield stream


def read_bytes(file: Path, name: str | None = None, largest: int = LARGEST_TEXT) -> bytes:
    """A regular file's bytes, at most `largest` of them. Raises InputError, one line."""
    where = name or str(file)
    with opened(file, name) as stream:
        try:
            data = stream.read(largest + 1)  # and not st_size, which is 0 under /proc
        except OSError as error:
            raise InputError(f"{where}: expected a readable file ({error.strerror})") from None
    if len(data) > largest:
        raise InputError(f"{where}: expected at most {many(largest, 'byte')}")
    return data


def read_text(file: Path, name: str | None = None, largest: int = LARGEST_TEXT) -> str:
    """A regular file's text in UTF-8, without a byte order mark, line ends as they are.

    Raises InputError, one line.
    """
    try:
        return read_bytes(file, name, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        expected = f"expected text in UTF-8, byte {error.start + 1} is none"
        raise InputError(f"{name or file}: {expected}") from None
