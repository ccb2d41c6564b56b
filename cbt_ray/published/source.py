"""Sources: the files of a clone as they were read, and the commit that it is at."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.published.remark import Remark
from cbt_ray.reading import read_bytes, read_text


@dataclass(frozen=True)
class Source:
    """A file as it was read."""

    path: str
    """Inside the repository."""
    text: str
    """With line ends as "\\n"."""
    sha256: str

    def origin(self, commit: str | None) -> dict[str, str]:
        """Where something is from, as the line of a session says it."""
        found = {"file": self.path, "sha256": self.sha256}
        return found | {"commit": commit} if commit else found


def read_source(file: Path, path: str) -> Source | Remark:
    """Read a text file; `path` names it in remarks."""
    try:
        data = read_bytes(file, path)
    except InputError as error:
        return Remark(path, 0, str(error).removeprefix(f"{path}: "), lost=True)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Remark(path, line, f"expected UTF-8 ({error.reason})", lost=True)
    return Source(path, one_kind_of_ends(text), hashlib.sha256(data).hexdigest())


def one_kind_of_ends(text: str) -> str:
    """A text whose line ends are all line feeds, whatever mix it had."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class Clone:
    """A clone of a publication's repository, or a part of it, on this machine."""

    root: Path

    def read(self, path: str) -> Source | Remark:
        """Read a file of the clone; where it is no text in UTF-8, the remark that says so."""
        return read_source(self.root / path, path)

    @property
    def commit(self) -> str | None:
        """The commit that the clone is at, where it is a clone."""
        return commit_of(self.root)


def check_places(root: Path, scores: Path | None) -> None:
    """Raise InputError where there is no folder to look through, or no table that was named."""
    if not root.is_dir():
        raise InputError(
            f"{root}: expected a folder, the clone of the public repository; there is none"
        )
    if scores is not None and not scores.is_file():
        raise InputError(f"--scores {scores}: expected a CSV file, there is none")


def table_beside(root: Path) -> Path | None:
    """A table of scores that is beside a clone, under its name."""
    beside = root.resolve().with_name(f"{root.resolve().name}_scores.csv")
    return beside if beside.is_file() else None


def folders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, in their order; none where it is not there."""
    return (
        sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if folder.is_dir()
        else []
    )


def commit_of(root: Path) -> str | None:
    """What HEAD of a clone names, without running git; None where it is no clone."""
    git = root / ".git"
    try:
        head = read_text(git / "HEAD").strip()
        if not head.startswith("ref: "):
            return head if re.fullmatch(r"[0-9a-f]{40}", head) else None
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return read_text(git / name).strip()
        packed = read_text(git / "packed-refs")
    except InputError:
        return None
    return next(
        (line.split()[0] for line in packed.splitlines() if line.endswith(f" {name}")), None
    )
