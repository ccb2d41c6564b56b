"""A GGUF written by hand, from the format's definition:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

F32 = 0


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(found: Any) -> bytes:
    """With its kind in front: texts, whole numbers (u32), u16 as ("u16", n), lists of texts or
    numbers.
    """
    if isinstance(found, str):
        return struct.pack("<I", 8) + text(found)
    if isinstance(found, tuple):
        return struct.pack("<IH", 2, found[1])
    if isinstance(found, list):
        kind, parts = (
            (8, map(text, found))
            if found and isinstance(found[0], str)
            else (5, (struct.pack("<i", n) for n in found))
        )
        return struct.pack("<IIQ", 9, kind, len(found)) + b"".join(parts)
    return struct.pack("<II", 4, found)


def gguf_bytes(
    metadata: Mapping[str, Any], tensors: Mapping[str, Sequence[int]] | None = None
) -> bytes:
    """A GGUF of version 3 whose tensors, of 32-bit zeros, have these shapes."""
    tensors = tensors or {}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + value(found) for key, found in metadata.items())
    end = 0
    for name, shape in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, F32, end)
        size = 4
        for length in shape:
            size *= length
        end += size + -size % 32
    return head + bytes(-len(head) % 32) + bytes(end)


def write_gguf(
    file: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Sequence[int]] | None = None
) -> Path:
    file.write_bytes(gguf_bytes(metadata, tensors))
    return file
