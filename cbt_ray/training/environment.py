"""What the training libraries are told through the environment, before they are imported; and
their versions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from cbt_ray.errors import InputError

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_DISABLED": "true",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
}
"""Nothing is fetched, nothing reported. Threads that wait do not spin: beside a busy process a step
that spins takes up to ten
times as long."""

WSL = "/dev/dxg"
GPU = ("/dev/nvidia0", "/dev/nvidiactl", WSL)
"""One of these is there where a CUDA GPU is: Linux, a container, Windows' Linux."""
ALLOCATION = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""How torch allocates a GPU's memory, its name and its earlier one. Windows are of many lengths:
segments that grow are not split into what no window fits; Windows' Linux cannot have them."""


def settle() -> None:
    """Set what is not set; call it before torch is imported.

    A training takes one GPU, the first that is visible: the trainer would spread it over all of
    them, and its batch would be another one.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if not any(name in os.environ for name in ALLOCATION) and not Path(WSL).exists():
        os.environ[ALLOCATION[0]] = "expandable_segments:True"
    loaded = sys.modules.get(
        "huggingface_hub.constants"
    )  # by a fetch before it, in the same process
    if loaded is not None:
        vars(loaded)["HF_HUB_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] == "1"


def require_unsloth() -> None:
    """Raise InputError where Unsloth cannot run.

    Imports nothing: asked before anything is paid for.
    """
    lacking = [] if any(Path(device).exists() for device in GPU) else ["a CUDA GPU"]
    if find_spec("unsloth") is None:
        lacking.append("the package unsloth")
    if lacking:
        raise InputError(
            f"backend unsloth: expected {' and '.join(lacking)}; use `backend: trl`, which runs "
            "anywhere"
        )


def versions(libraries: Iterable[str]) -> dict[str, str | None]:
    """Of the libraries that are installed; None of any other."""
    return {library: _version(library) for library in libraries}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
