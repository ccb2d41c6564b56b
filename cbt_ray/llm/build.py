"""The llama.cpp that is installed here: its builds, and the best one that this CPU can run."""

from __future__ import annotations

import atexit
import ctypes
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.extra import need

CPU = Path("/proc/cpuinfo")
RECORD = "instruction-sets"
"""File of the package that requirements/llama.cmake writes: a build a line, the best one first; its
name (`native`, `portable`, or one of several that lie side by side), then the instruction sets that
it needs, as Linux names them."""


@dataclass(frozen=True)
class Build:
    """One build of llama.cpp, and the instruction sets that it needs."""

    name: str
    needed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{version('llama_cpp_python')} {self.name}"


def builds(record: Path | None = None) -> list[Build]:
    """The installed builds, the best one first; one that nobody knows where there is no record.

    Raises InputError where llama.cpp is not installed.
    """
    record = record or record_of()
    if record is None:
        need("llama_cpp")
    lines = record.read_text().splitlines() if record is not None and record.is_file() else []
    return [Build(name, tuple(needed)) for name, *needed in map(str.split, lines)] or [
        Build("unknown")
    ]


def best_build(record: Path | None = None, cpu: Path = CPU) -> Build:
    """The best build that this CPU can run; loads nothing of it.

    Raises InputError where it can run none. Where the system has no /proc/cpuinfo, it is the one
    that needs least.
    """
    known, had = builds(record), _instruction_sets(cpu)
    least = known[-1]
    fitting = [build for build in known if had.issuperset(build.needed)]
    if had and not fitting:
        missing = ", ".join(name for name in least.needed if name not in had)
        remedy = (
            "`make clean`, then the same again, compiles it for this one"
            if least.name == "native"
            else "run on a newer CPU"
        )
        raise InputError(
            f"llama.cpp: compiled for a CPU with {missing}, which this one lacks; {remedy}"
        )
    return fitting[0] if had else least


def bindings() -> Any:
    """llama_cpp, silent, with the best build loaded.

    Raises InputError where this CPU can run none.
    """
    build = best_build()  # a worker may run on another machine than the one that read the study
    import llama_cpp

    llama_cpp.llama_log_set(silence(), None)
    with _loading:
        _load(build)
    return llama_cpp


_loading = Lock()


@lru_cache
def _load(build: Build) -> None:
    """Load one of several builds; llama.cpp itself was linked with the only one."""
    record = record_of()
    library = record and record.parent / "lib" / f"libggml-cpu-{build.name}.so"
    if library is None or not library.is_file():
        return
    from llama_cpp._ggml import libggml

    load = libggml.ggml_backend_load
    load.argtypes, load.restype = [ctypes.c_char_p], ctypes.c_void_p
    if not load(bytes(library)):
        raise InputError(f"llama.cpp: {library} does not load, though this CPU has what it needs")


@lru_cache(1)
def silence() -> Any:
    """A log callback that drops everything, kept alive for the process: llama.cpp holds a bare
    pointer to it.

    llama_cpp's two handles of /dev/null are closed at exit, or Python tells of them after the last
    line of a whole study.
    """
    import llama_cpp
    from llama_cpp import _utils

    for handle in (_utils.outnull_file, _utils.errnull_file):
        atexit.register(handle.close)
    return llama_cpp.llama_log_callback(lambda *_: None)


def check_gpu(layers: int) -> None:
    """Raise InputError where layers are for a GPU that llama.cpp cannot use here."""
    if layers and not bindings().llama_supports_gpu_offload():
        raise InputError(
            "gpu_layers: expected 0, or a GPU and a llama.cpp that was compiled with CUDA or Metal,"
            f" found {layers}"
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
