"""A GGUF in another quantization, by the llama.cpp that will run it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cbt_ray.cache import cache_folder, locked
from cbt_ray.errors import InputError
from cbt_ray.llm.build import bindings, silence
from cbt_ray.llm.gguf_file import check_gguf, file_identity, gguf_files
from cbt_ray.unit import digest

_TYPES = {
    "q8_0": "LLAMA_FTYPE_MOSTLY_Q8_0",
    "q6_k": "LLAMA_FTYPE_MOSTLY_Q6_K",
    "q5_k_m": "LLAMA_FTYPE_MOSTLY_Q5_K_M",
    "q4_k_m": "LLAMA_FTYPE_MOSTLY_Q4_K_M",
    "q4_0": "LLAMA_FTYPE_MOSTLY_Q4_0",
}
ROWS = 256 << 20
"""Bytes of a weight's rows that llama.cpp holds at once; of itself it takes up to 8 GiB."""
_ERROR = 4
"""llama.cpp's level of a log line that says what went wrong (GGML_LOG_LEVEL_ERROR)."""


def requantized(source: Path, quantization: str, threads: int) -> Path:
    """A GGUF, of whatever quantization, in another one: made once in this machine's cache.

    The file's place says what it was made of, how, and by which llama.cpp. One that is not whole
    is made anew.
    """
    files = gguf_files(source)
    made_of = [quantization, _llama_cpp(), *map(file_identity, files)]
    target = (
        cache_folder() / "requantized" / digest(made_of) / f"{source.stem}.as-{quantization}.gguf"
    )
    try:
        with locked(target.with_suffix(".lock")):
            if not _is_whole(target):
                quantize(source, target, quantization, threads, lossy=True)
    except OSError as error:
        raise InputError(
            f"{target.parent}: expected a folder that can be written to; CBT_RAY_CACHE names "
            f"another cache ({error.strerror})"
        ) from error
    return target


def quantize(
    source: Path, target: Path, quantization: str, threads: int, *, lossy: bool = False
) -> None:
    """Write a GGUF in another quantization; the file appears whole or not at all.

    `lossy`: also one that lost something in a quantization already, and not only F16.
    """
    llama_cpp = bindings()
    if quantization not in _TYPES:
        raise InputError(f"quantization: {quantization!r}: expected one of {', '.join(_TYPES)}")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.allow_requantize = getattr(llama_cpp, _TYPES[quantization]), lossy
    parameters.nthread, parameters.max_buf_size = threads, ROWS
    beside = target.with_name(f".{target.name}")
    try:
        with _complaints() as lines:
            failed = llama_cpp.llama_model_quantize(
                str(source).encode(), str(beside).encode(), parameters
            )
        if failed or not _is_whole(beside):  # a disk that is full may show in the length alone
            raise InputError(
                f"{source}: expected {'a' if lossy else 'an F16'} GGUF that llama.cpp turns into "
                f"{quantization}, and room in {target.parent} "
                f"({lines[-1] if lines else 'cut'})"
            )
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _is_whole(gguf: Path) -> bool:
    try:
        return bool(check_gguf(gguf))
    except InputError:
        return False


def _llama_cpp() -> str:
    llama_cpp = bindings()
    return f"{llama_cpp.__version__} {llama_cpp.llama_version().decode()}"


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What llama.cpp logs as errors inside; the rest of its log is dropped, also afterwards."""
    import llama_cpp

    lines: list[str] = []

    def note(level: int, text: bytes, _data: Any) -> None:
        if level == _ERROR and text.strip():
            lines.append(text.decode(errors="replace").strip())

    callback = llama_cpp.llama_log_callback(note)
    llama_cpp.llama_log_set(callback, None)
    try:
        yield lines
    finally:
        llama_cpp.llama_log_set(silence(), None)
