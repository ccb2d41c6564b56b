"""A Hugging Face folder as a GGUF, by the converter of the same llama.cpp that will run it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.reading import read_json
from cbt_ray.store.store import sha256_of
from cbt_ray.training.export.front import Front
from cbt_ray.training.export.space import space_in_front
from cbt_ray.training.links import link_others

CONVERTER = "CBT_RAY_CONVERTER"
"""Environment variable that names another convert_hf_to_gguf.py than the one pinned beside this
Python."""
NAMELESS = Front("cbt-ray")
"""What is inside the GGUF of a model that nobody is given."""
_SETTINGS = "tokenizer_config.json"
_CARD = "README.md"


class NotConvertible(InputError):
    """llama.cpp's converter does not know such a model."""


@contextlib.contextmanager
def known_to_llama_cpp(field: str) -> Iterator[None]:
    """Say which field of a recipe names a model that the converter does not know."""
    try:
        yield
    except NotConvertible as error:
        raise InputError(f"{field}: {error}") from error


@dataclass(frozen=True)
class Gguf:
    """A finished GGUF and its SHA-256."""

    path: Path
    sha256: str


def convert(
    folder: Path, target: Path, quantization: str, threads: int, front: Front = NAMELESS
) -> Gguf:
    """Convert a Hugging Face folder.

    The file appears whole or not at all, and says of itself what `front` does.
    """
    _convert(folder, target, ["--outtype", quantization], threads, front)
    return Gguf(target, sha256_of(target))


def convert_vocabulary(folder: Path, target: Path, threads: int) -> Path:
    """A GGUF of tokenizer and chat template alone: what llama.cpp will make of a text is known
    before there are weights.
    """
    _convert(folder, target, ["--vocab-only"], threads, NAMELESS)
    return target


def _convert(folder: Path, target: Path, options: list[str], threads: int, front: Front) -> None:
    beside = target.with_name(f".{target.name}")
    with _as_converted(folder, front) as source:
        command = [
            sys.executable,
            str(converter()),
            str(source),
            "--outfile",
            str(beside),
            *("--model-name", front.name),
            *options,
        ]
        done = subprocess.run(
            command, env=_environment(threads), capture_output=True, text=True, check=False
        )
    if done.returncode:
        beside.unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise NotConvertible(f"expected a model that llama.cpp's converter takes ({lines[-1]})")
    beside.replace(target)


@contextlib.contextmanager
def _as_converted(folder: Path, front: Front) -> Iterator[Path]:
    """The folder, with what the converter has to be told: in one of links of the same name, since
    other readers of the model would take it for an order to build it anew.
    """
    own = _space_said(folder)
    if front.demands is not None:
        own[_CARD] = front.in_gguf()
    if not own:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cbt-ray-") as beside:
        links = Path(beside) / folder.resolve().name
        links.mkdir()
        link_others(folder, links, own)
        for name, text in own.items():
            (links / name).write_text(text, encoding="utf-8")
        yield links


def _space_said(folder: Path) -> dict[str, str]:
    """Settings that say what tokenizer.json does of the space in front of a text, where they do
    not.

    The converter asks them, and llama.cpp puts a space after every special token where they are
    silent.
    """
    space = space_in_front(folder / "tokenizer.json")
    settings = folder / _SETTINGS
    given = read_json(settings) if settings.exists() else {}
    if space is None or given.get("add_prefix_space") is space:
        return {}
    return {_SETTINGS: json.dumps({**given, "add_prefix_space": space})}


def converter() -> Path:
    """llama.cpp's own, as a file; raises InputError where it is not there."""
    path = Path(
        os.environ.get(CONVERTER) or Path(sys.prefix) / "llama.cpp" / "convert_hf_to_gguf.py"
    )
    if not path.is_file():
        raise InputError(
            f"{path}: expected llama.cpp's converter; `make` puts it there, {CONVERTER} names "
            "another"
        )
    return path


def _environment(threads: int) -> dict[str, str]:
    """The converter finds its own gguf-py beside itself.

    A PYTHONPATH could only put another in front.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "NO_LOCAL_GGUF")
    }
    return {
        **kept,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": str(threads),
    }
