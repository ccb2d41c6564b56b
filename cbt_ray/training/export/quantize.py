"""An F16 GGUF in another quantization, by the llama.cpp that will run it, so that a model is
converted only once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.build import bindings, silence
from cbt_ray.store.store import sha256_of
from cbt_ray.training.export.gguf import Gguf

_TYPES = {
    "q8_0": "LLAMA_FTYPE_MOSTLY_Q8_0",
    "q6_k": "LLAMA_FTYPE_MOSTLY_Q6_K",
    "q5_k_m": "LLAMA_FTYPE_MOSTLY_Q5_K_M",
    "q4_k_m": "LLAMA_FTYPE_MOSTLY_Q4_K_M",
}
ROWS = 256 << 20
"""Bytes of a weight's rows that llama.cpp holds at once; of itself it takes up to 8 GiB."""
_ERROR = 4
"""llama.cpp's level of a log line that says what went wrong (GGML_LOG_LEVEL_ERROR)."""


def quantize(source: Path, target: Path, quantization: str, threads: int) -> Gguf:
    """Write an F16 GGUF in another quantization; the file appears whole or not at all."""
    llama_cpp = bindings()
    if quantization not in _TYPES:
        raise InputError(f"quantization: {quantization!r}: expected one of {', '.join(_TYPES)}")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, _TYPES[quantization])
    parameters.nthread, parameters.max_buf_size = threads, ROWS
    beside = target.with_name(f".{target.name}")
    with _complaints() as lines:
        failed = llama_cpp.llama_model_quantize(
            str(source).encode(), str(beside).encode(), parameters
        )
    if failed:
        beside.unlink(missing_ok=True)
        reason = lines[-1] if lines else "no output"
        raise InputError(
            f"{source}: expected an F16 GGUF that llama.cpp turns into {quantization} ({reason})"
        )
    beside.replace(target)
    return Gguf(target, sha256_of(target))


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
