"""Unsloth's parts with the real Unsloth on a CPU:

.unsloth/bin/python -m tests.training.gpu.interpreted FOLDER BASE PART...
"""

from __future__ import annotations

import sys
from pathlib import Path

from cbt_ray.training.backend.unsloth_backend import UnslothBackend
from tests.training.backend.unsloth_cpu import _import
from tests.training.gpu import parts
from tests.training.gpu.size import INTERPRETED


def main(folder: Path, base: str, names: list[str]) -> None:
    """In one process: half a minute passes until Unsloth is there."""
    _import(folder / "rewritten")
    parts.open_backend = lambda name: UnslothBackend()  # it asks for a GPU
    for name in ("model", *names):
        parts.run(name, INTERPRETED, folder, base)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
