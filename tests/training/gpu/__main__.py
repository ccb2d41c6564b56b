"""The commands."""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.training.export.memory import EMBEDDED
from tests.training.gpu.run import MINUTES, PARTS, Run, command_of
from tests.training.gpu.size import LARGE, SMALL, Size

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth", "vllm")


def machine() -> dict[str, Any]:
    """What the figures are of."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "device_gib": round(torch.cuda.mem_get_info()[1] / 2**30, 1) if cuda else None,
        "cuda": torch.version.cuda,
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def main(given: argparse.Namespace, size: Size) -> None:
    shape = {"parameters": size.shape.parameters(), "layers": size.shape.layers}
    head = {"machine": machine(), "size": {**shape, "length": size.length, "small": given.small}}
    asked = [one for one in PARTS if not given.part or one.name in {"model", *given.part}]
    with tempfile.TemporaryDirectory(prefix="cbt-ray-gpu-") as folder:
        run = Run(
            command_of(given.small, Path(folder), given.base),
            given.out,
            head,
            given.minutes,
            has=lambda package: find_spec(package) is not None,
        )
        run.carry_out(asked)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.training.gpu")
    parser.add_argument("command", nargs="?", choices=("run", "pack", "table"), default="run")
    parser.add_argument("folder", nargs="?", type=Path, help="of pack")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--part", action="append", choices=[one.name for one in PARTS])
    parser.add_argument("--base", default=EMBEDDED, help="whose tokenizer it is")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    size = SMALL if given.small else LARGE
    if given.run:
        from tests.training.gpu.parts import run as run_part

        run_part(given.run[0], size, Path(given.run[1]), given.base)
    elif given.command == "pack":
        from tests.training.gpu.pack import main as pack

        pack(given.folder)
    elif given.command == "table":
        from tests.training.gpu.table import main as write

        write()
    else:
        main(given, size)
