"""Safetensors files read and written piece by piece: what the library reads and writes, without
holding all of a weight or file.

The library (0.8) maps the file, so that memory fills with its pages, or reads a whole weight for
each of its slices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.reading import loads, read_bytes, read_json
from cbt_ray.reading import opened as opened_file

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BITS = {
    **{"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "C64": 64},
    **{
        "I64": 64,
        "U64": 64,
        "I32": 32,
        "U32": 32,
        "I16": 16,
        "U16": 16,
        "I8": 8,
        "U8": 8,
        "BOOL": 8,
    },
    **{"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
"""Of each type that the format knows."""
LONGEST_HEADER = 100_000_000
"""Bytes, as the library has it."""
MOST_DIMENSIONS = 16
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
    """Open a safetensors file; the library checks its header.

    `packed`: 4-bit weights are welcome, too.
    """
    begin, entries = check_safetensors(file)
    known = _DTYPES | (_PACKED if packed else {})
    for name, entry in entries.items():
        if entry["dtype"] not in known:
            raise InputError(
                f"{file}: {name}: expected one of {', '.join(known)}, not {entry['dtype']}"
            )
    with file.open("rb") as stream:
        yield Shard(file, stream, begin, entries)


def check_safetensors(file: Path) -> tuple[int, dict[str, Any]]:
    """Where the weights begin, and of each its type, shape and place, which fill the file to its
    end.

    Reads the header alone. Raises InputError, one line, where the file is torn or says of itself
    what is not so.
    """
    with opened_file(file) as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(LONGEST_HEADER, size - 8):
            raise _torn(
                file, f"its header would have {many(length, 'byte')}, the file has {size:,}"
            )
        try:
            entries = loads(stream.read(length))
        except ValueError as error:
            raise _torn(file, f"its header is no JSON: {error}") from None
    if not isinstance(entries, dict):
        raise _torn(file, "its header is no object")
    entries.pop("__metadata__", None)
    places = sorted((_place(file, name, entry), name) for name, entry in entries.items())
    end = 0
    for (begin, after), name in places:
        if begin != end:
            raise _torn(file, f"{name!r} begins at {begin:,}, not at {end:,}")
        end = after
    if 8 + length + end != size:
        raise _torn(
            file, f"its weights take {many(8 + length + end, 'byte')}, the file has {size:,}"
        )
    return 8 + length, entries


def _place(file: Path, name: str, entry: Any) -> tuple[int, int]:
    """Where a weight begins and ends, which agrees with its type and shape."""
    known = entry if isinstance(entry, dict) else {}
    kind, shape, place = (
        known.get("dtype"),
        _counts(known.get("shape")),
        _counts(known.get("data_offsets")),
    )
    if not isinstance(kind, str) or shape is None or place is None or len(place) != 2:
        raise _torn(file, f"{name[:200]!r} has no type, shape and place")
    bits = _BITS.get(kind)
    if bits is None:
        raise _torn(file, f"{name[:200]!r} is of a type, {kind[:40]!r}, that there is not")
    if 8 * (place[1] - place[0]) != bits * math.prod(shape):
        raise _torn(
            file,
            f"{name[:200]!r} takes {many(place[1] - place[0], 'byte')}, which is not what its "
            "shape takes",
        )
    return place[0], place[1]


def _counts(value: Any) -> list[int] | None:
    """A short list of whole numbers from 0, or None of anything else."""
    whole = isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)
    return list(value) if whole and len(value) <= MOST_DIMENSIONS else None


def _torn(file: Path, why: str) -> InputError:
    return InputError(f"{file}: expected a safetensors file, but {why}")


def write_f16(
    file: Path, shapes: Mapping[str, tuple[int, ...]], pieces: Callable[[str], Iterator[Any]]
) -> None:
    """Write the named weights.

    `pieces` gives one of them as f16 torch tensors that lie after each other, for instance its
    rows.

    Sorted by name and padded as the library does it, so the file is the same to the byte.
    """
    with file.open("wb") as stream:
        stream.write(_header(shapes))
        for name in sorted(shapes):
            begin = stream.tell()
            for piece in pieces(name):
                stream.write(piece.contiguous().numpy().data)
            if stream.tell() - begin != WIDTH * math.prod(shapes[name]):
                raise ValueError(
                    f"{file}: {name}: expected pieces that fill the shape {shapes[name]}"
                )


def shards_of(folder: Path) -> list[str]:
    """The files that hold a model's weights; where there is an index, those that it names.

    InputError where one is missing.
    """
    if not (folder / INDEX).exists():
        return sorted(file.name for file in folder.glob("*.safetensors"))
    names = sorted(set(read_index(folder)["weight_map"].values()))
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(
                f"{folder / INDEX}: weight_map: expected the file {name[:200]!r} next to it, there "
                "is none"
            )
    return names


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a model's weights: which file each is in. Raises InputError, one line."""
    return index_of(read_bytes(folder / INDEX), str(folder / INDEX))


def index_of(data: bytes, name: str) -> dict[str, Any]:
    """The same of the bytes of an index, which an InputError calls `name`."""
    try:
        index = loads(data)
    except ValueError as error:
        raise InputError(f"{name}: expected JSON: {error}") from None
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not all(
        isinstance(one, str) and one for one in where.values()
    ):
        raise InputError(f"{name}: weight_map: expected the file of each weight")
    return dict(index)


def write_index(index: dict[str, Any], folder: Path) -> None:
    """Write an index of shards with the size that the weights in the folder have now."""
    index.setdefault("metadata", {})["total_size"] = sum(
        _size(file) for file in folder.glob("*.safetensors")
    )
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def write_settings(source: Path, folder: Path) -> None:
    """Write the config.json of a model whose weights are f16 now."""
    config = read_json(source / "config.json")
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
