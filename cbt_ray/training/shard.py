"""Safetensors files read and written piece by piece: what the library reads and writes, without holding all of a weight or file.

The library (0.8) maps the file, so that memory fills with its pages, or reads a whole weight for each of its slices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cbt_ray.errors import InputError

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_PACKED = {"U8": "uint8"}
"""How bitsandbytes stores 4-bit weights, and what says how they were made."""
INDEX = "model.safetensors.index.json"
ROWS = 16 << 20
"""Bytes of a weight, in fp32, that are held at once."""
WIDTH = 2
"""Bytes of one f16 number."""


@dataclass(frozen=True)
class Shard:
    """An open safetensors file."""

    file: Path
    stream: BinaryIO
    begin: int
    """Where the weights begin."""
    entries: Mapping[str, Any]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each weight."""
        return {name: tuple(entry["shape"]) for name, entry in self.entries.items()}

    def rows(self, name: str, begin: int, end: int) -> Any:
        """Some rows of a weight, as a torch tensor of its own type; a single number is one row."""
        import torch

        shape = self.entries[name]["shape"]
        dtype = getattr(torch, (_DTYPES | _PACKED)[self.entries[name]["dtype"]])
        width = math.prod(shape[1:]) * dtype.itemsize
        data = bytearray((end - begin) * width)
        self.stream.seek(self.begin + self.entries[name]["data_offsets"][0] + begin * width)
        if self.stream.readinto(data) != len(data):  # type: ignore[attr-defined]
            raise InputError(f"{self.file}: {name}: expected all of its bytes")
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return flat.reshape([end - begin, *shape[1:]])

    def pieces(self, name: str) -> Iterator[tuple[int, Any]]:
        """A weight some rows at a time, each time with the number of the first one."""
        shape = self.entries[name]["shape"]
        count, step = shape[0] if shape else 1, max(1, ROWS // (4 * max(1, math.prod(shape[1:]))))
        for begin in range(0, count, step):
            yield begin, self.rows(name, begin, min(begin + step, count))


@contextmanager
def opened(file: Path, *, packed: bool = False) -> Iterator[Shard]:
    """Open a safetensors file; the library checks its header. `packed`: 4-bit weights are welcome, too."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: expected a safetensors file ({error})") from error
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        entries = json.loads(stream.read(length))
        entries.pop("__metadata__", None)
        known = _DTYPES | (_PACKED if packed else {})
        for name, entry in entries.items():
            if entry["dtype"] not in known:
                raise InputError(f"{file}: {name}: expected one of {', '.join(known)}, not {entry['dtype']}")
        yield Shard(file, stream, 8 + length, entries)


def write_f16(file: Path, shapes: Mapping[str, tuple[int, ...]], pieces: Callable[[str], Iterator[Any]]) -> None:
    """Write the named weights; `pieces` gives one of them as f16 torch tensors that lie behind each other, for instance its rows.

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


def shards_of(folder: Path) -> list[str]:
    """The files that hold a model's weights; where there is an index, those that it names."""
    index = folder / INDEX
    if index.exists():
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    return sorted(file.name for file in folder.glob("*.safetensors"))


def write_index(index: dict[str, Any], folder: Path) -> None:
    """Write an index of shards with the size that the weights in the folder have now."""
    index.setdefault("metadata", {})["total_size"] = sum(_size(file) for file in folder.glob("*.safetensors"))
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def write_settings(source: Path, folder: Path) -> None:
    """Write the config.json of a model whose weights are f16 now."""
    config = json.loads((source / "config.json").read_text())
    for name in ("quantization_config", "torch_dtype"):
        config.pop(name, None)
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}, indent=1) + "\n")


def rounded(weight: Any, name: str) -> Any:
    """A weight in f16; InputError names one that is beyond its range."""
    import torch

    small = weight.to(torch.float16)
    if not torch.isfinite(small).all():
        raise InputError(f"{name}: expected weights within the range of f16")
    return small


def _size(shard: Path) -> int:
    """Bytes of the weights in a shard."""
    with shard.open("rb") as stream:
        return shard.stat().st_size - 8 - int.from_bytes(stream.read(8), "little")


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        begin, end = end, end + WIDTH * math.prod(shapes[name])
        entries[name] = {"dtype": "F16", "shape": list(shapes[name]), "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text
