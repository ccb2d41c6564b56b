"""A Hugging Face folder as a GGUF, by the converter of the same llama.cpp that will run it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.store.store import sha256_of

CONVERTER = "CBT_RAY_CONVERTER"
"""Environment variable that names another convert_hf_to_gguf.py than the one pinned beside this Python."""


@dataclass(frozen=True)
class Gguf:
    """A finished GGUF and its SHA-256."""

    path: Path
    sha256: str


def convert(folder: Path, target: Path, quantization: str, threads: int) -> Gguf:
    """Convert a Hugging Face folder; the file appears whole or not at all."""
    beside = target.with_name(f".{target.name}")
    arguments = [str(folder), "--outtype", quantization, "--outfile", str(beside), "--model-name", "cbt-ray"]
    done = subprocess.run(
        [sys.executable, str(_converter()), *arguments], env=_environment(threads), capture_output=True, text=True, check=False
    )
    if done.returncode:
        beside.unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise InputError(f"{folder}: expected a model that llama.cpp's converter takes ({lines[-1]})")
    beside.replace(target)
    return Gguf(target, sha256_of(target))


def _converter() -> Path:
    path = Path(os.environ.get(CONVERTER) or Path(sys.prefix) / "llama.cpp" / "convert_hf_to_gguf.py")
    if not path.is_file():
        raise InputError(f"{path}: expected llama.cpp's converter; `make` puts it there, {CONVERTER} names another")
    return path


def _environment(threads: int) -> dict[str, str]:
    """The converter finds its own gguf-py beside itself; a PYTHONPATH could only put another in front."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NO_LOCAL_GGUF")}
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": str(threads)}
