"""The cache: what this machine can fetch or make again."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Where it lies; CBT_RAY_CACHE moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cbt-ray"
    return Path(os.environ.get("CBT_RAY_CACHE") or default)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that all processes of this machine share."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
