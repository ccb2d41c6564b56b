"""A delivery: files that a command hands to its user in a folder. What the user has there stays.

`cbt-ray.files.json` in the folder lists what was handed over, with the SHA-256 of each file. Only a
file that is listed there and is as it was written is replaced or removed; where another one is in
the way, nothing is written. A run that was killed leaves a list with the old digests beside the new
ones, so the next one goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.reading import read_json
from cbt_ray.store import Blob
from cbt_ray.store.store import sha256_of

LIST = "cbt-ray.files.json"
PARTS = ".cbt-ray.part"
Fetch = Callable[[Blob, Path], object]
"""Brings a large file of the store to a path, whole or not at all."""


@dataclass(frozen=True)
class _Listed:
    """A file of the list."""

    by: str
    sha256: tuple[str, ...]
    """Of its content; two where a run was killed that replaced it."""


@dataclass(frozen=True)
class Delivery:
    """The files that one command hands over into one folder."""

    folder: Path
    by: str
    """The command."""
    fetch: Fetch = field(default=lambda _blob, _file: None)
    whole: bool = True
    """What this command handed over before and does not now is removed."""

    def hand_over(self, files: Mapping[str, bytes | Blob]) -> None:
        """Write files by their paths in the folder.

        Raises InputError, naming what is in the way; then nothing is written.
        """
        self.check()
        digests = {name: _digest(one) for name, one in files.items()}
        try:
            known = self._known()
            here = {name: self._here(name) for name in {*files, *known}}
            self._refuse(digests, known, here)
            others = {name: one for name, one in known.items() if name not in files}
            gone = {name: one for name, one in others.items() if self.whole and one.by == self.by}
            kept = {name: one for name, one in others.items() if name not in gone}
            wanted = {name: _Listed(self.by, (sha,)) for name, sha in digests.items()}
            between = {
                name: _Listed(self.by, tuple(dict.fromkeys((sha, here[name] or sha))))
                for name, sha in digests.items()
            }
            self._list({**kept, **gone, **between})
            for name, one in files.items():
                if here[name] != digests[name]:
                    self._place(name, one, digests[name])
            for name, old in gone.items():
                if here[name] in old.sha256:
                    self._remove(name)
            self._list({**kept, **wanted})
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def check(self) -> None:
        """Make the folder. Raises InputError where it can be none."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / PARTS).is_symlink():
                raise InputError(
                    f"--to: {self.folder / PARTS} is a link; expected a folder of cbt-ray's own"
                )
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"--to: expected a folder that can be written, {self.folder} is none ({error.strerror})"
        )

    def _refuse(
        self,
        digests: Mapping[str, str],
        known: Mapping[str, _Listed],
        here: Mapping[str, str | None],
    ) -> None:
        """Raise InputError where a file is in the way that is not ours, or was changed since."""
        for name, sha in sorted(digests.items()):
            found = here[name]
            if found in (None, sha) or (name in known and found in known[name].sha256):
                continue
            what = (
                "was changed since cbt-ray wrote it"
                if name in known
                else "is in the way, cbt-ray did not write it"
            )
            raise InputError(
                f"--to: {self.folder / name} {what}; move it, or name another folder (nothing was "
                "written)"
            )

    def _here(self, name: str) -> str | None:
        """The SHA-256 of the file under a name, None where there is none.

        `other` where it is no regular file of this very folder: a link, a folder, a file that
        takes a folder's place.
        """
        path = self.folder
        for part in PurePosixPath(name).parts:
            path /= part
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return None
            except NotADirectoryError:
                return "other"
            if not stat.S_ISDIR(mode):
                break
        return sha256_of(path) if stat.S_ISREG(mode) and path == self.folder / name else "other"

    def _place(self, name: str, one: bytes | Blob, sha: str) -> None:
        """Whole, or not at all."""
        part, target = self.folder / PARTS / sha, self.folder / name
        part.parent.mkdir(exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(one, bytes):
            part.unlink(missing_ok=True)
            part.write_bytes(one)
        else:
            self.fetch(one, part)
        part.replace(target)

    def _remove(self, name: str) -> None:
        """A file, and the folders that are empty without it."""
        (self.folder / name).unlink()
        for parent in list(PurePosixPath(name).parents)[:-1]:
            try:
                (self.folder / parent).rmdir()
            except OSError:
                return

    # ---- the list --------------------------------------------------------------------------------

    def _known(self) -> dict[str, _Listed]:
        file = self.folder / LIST
        if not os.path.lexists(file):
            return {}
        document = read_json(file)
        files = document.get("files") if isinstance(document, dict) else None
        if not isinstance(files, dict) or not all(_sound(name, one) for name, one in files.items()):
            raise InputError(
                f"{file}: expected the list of files that cbt-ray wrote; move it, and the files "
                "that are in the way"
            )
        return {name: _Listed(one["by"], tuple(one["sha256"])) for name, one in files.items()}

    def _list(self, files: Mapping[str, _Listed]) -> None:
        listed = {
            name: {"by": one.by, "sha256": list(one.sha256)} for name, one in sorted(files.items())
        }
        said = "Written by cbt-ray, which replaces these files and no others."
        text = json.dumps({"about": said, "files": listed}, indent=1) + "\n"
        part = self.folder / PARTS / "list"
        part.parent.mkdir(exist_ok=True)
        part.unlink(missing_ok=True)
        part.write_text(text)
        part.replace(self.folder / LIST)


def _digest(one: bytes | Blob) -> str:
    return hashlib.sha256(one).hexdigest() if isinstance(one, bytes) else one.sha256


def _sound(name: str, one: Any) -> bool:
    """A path inside the folder, with digests; somebody may have edited the list."""
    path = PurePosixPath(name)
    inside = (
        bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    )
    digests = (
        one.get("sha256") if isinstance(one, dict) and isinstance(one.get("by"), str) else None
    )
    return (
        inside
        and isinstance(digests, list)
        and all(re.fullmatch("[0-9a-f]{64}", str(sha)) for sha in digests)
    )
