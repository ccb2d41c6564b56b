"""The llama.cpp that is installed here: for which CPU it was compiled, and whether that is this
one.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cbt_ray.errors import InputError

CPU = Path("/proc/cpuinfo")
RECORD = "instruction-sets"
"""File of the package that requirements/llama.cmake writes: `native` or `portable`, then
instruction
sets as Linux names them."""


def check_build(record: Path | None = None, cpu: Path = CPU) -> None:
    """Raise InputError where llama.cpp was compiled for instruction sets that this CPU lacks.

    Loads nothing of it.

    A build without a record, or a system without /proc/cpuinfo, is not judged.
    """
    record = record or record_of()
    if record is None or not record.is_file():
        return
    kind, *needed = record.read_text().split()
    had = _instruction_sets(cpu)
    missing = [name for name in needed if name not in had]
    if missing and had:
        remedy = (
            "run on a newer CPU"
            if kind == "portable"
            else "`make clean`, then the same again, compiles it for this one"
        )
        raise InputError(
            f"llama.cpp: compiled for a CPU with {', '.join(missing)}, which this one lacks; "
            f"{remedy}"
        )


def record_of() -> Path | None:
    """The file that says what the installed llama.cpp was compiled for.

    None where there is no llama.cpp.
    """
    spec = find_spec("llama_cpp")
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name(RECORD)


def _instruction_sets(cpu: Path) -> set[str]:
    """What the first core has; x86 calls them flags and ARM Features.

    Empty where the system does not say.
    """
    if cpu.exists():
        with cpu.open() as lines:
            for line in lines:
                name, _, words = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return set(words.split())
    return set()
