"""A safetensors file of f16 weights, written piece by piece: what the library's save_file writes, without holding all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

WIDTH = 2
"""Bytes of one f16 number."""


def write_f16(file: Path, shapes: Mapping[str, tuple[int, ...]], pieces: Callable[[str], Iterator[Any]]) -> None:
    """Write the named tensors; `pieces` gives one of them as f16 torch tensors that lie behind each other, for instance its rows.

    Sorted by name and padded as the library does it, so the file is the same to the byte.
    """
    with file.open("wb") as stream:
        stream.write(_header(shapes))
        for name in sorted(shapes):
            begin = stream.tell()
            for piece in pieces(name):
                stream.write(piece.contiguous().numpy().data)
            if stream.tell() - begin != WIDTH * math.prod(shapes[name]):
                raise ValueError(f"{file}: {name}: expected pieces that fill the shape {shapes[name]}")


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        begin, end = end, end + WIDTH * math.prod(shapes[name])
        entries[name] = {"dtype": "F16", "shape": list(shapes[name]), "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text
