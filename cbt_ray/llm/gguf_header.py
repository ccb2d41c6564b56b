"""The header of a GGUF: its metadata and where its tensors lie, agreed with the length of the file.

Read without llama.cpp, whose loader trusts counts and lengths that a torn or hostile file states,
and without the weights: of a file of any size a few megabytes are read.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.reading import opened

MAGIC = b"GGUF"
VERSIONS = (2, 3)
"""Version 1 had shorter counts; llama.cpp reads it no more."""
MOST_ENTRIES = 100_000
"""Metadata, or tensors; the largest models have some thousand tensors."""
MOST_STRINGS = 3_000_000
"""In all arrays; the largest vocabularies and their merges are a third of it."""
LONGEST_KEY = 65_535
"""Bytes, as the format says."""
LONGEST_TEXT = 16 << 20
"""Bytes of a text in the metadata; a chat template has some thousand."""
ALIGNMENT = 32
DIMENSIONS = 4

NOT_KEPT = ()
"""Stands for an array that nobody asked for."""

_STRING, _ARRAY = 8, 9
_SCALARS = {
    **{0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"},
    **{10: "<Q", 11: "<q", 12: "<d"},
}
_BLOCKS = {
    **{0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34)},
    **{9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210)},
    **{15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18)},
    **{21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4)},
    **{27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66)},
    **{39: (32, 17), 40: (64, 36), 41: (128, 18)},
}
"""Of each type of a tensor, how many numbers lie in a block and how many bytes it has."""


@dataclass(frozen=True)
class Header:
    """What a GGUF says of itself: its single values and texts, those arrays that were asked for,
    the names of its tensors.
    """

    metadata: dict[str, Any]
    tensors: tuple[str, ...]

    @property
    def parts(self) -> int:
        """How many files the model was split into; 1 of a whole one."""
        count = self.metadata.get("split.count", 1)
        return count if isinstance(count, int) and count > 1 else 1


def read_header(file: Path, arrays: Collection[str] = ()) -> Header:
    """Read a header and hold it against the file's length; `arrays`: names of those that are kept.

    Raises InputError, one line, where the file is none, is torn, or its tensors do not lie as the
    header says.
    """
    with opened(file) as stream:
        try:
            return _Reader(file, stream, frozenset(arrays)).header()
        except OSError as error:
            raise InputError(
                f"{file}: expected a GGUF file that can be read ({error.strerror})"
            ) from None


class _Reader:
    """Walks through a header once.

    No count and no length is believed before the file is seen to be that long.
    """

    def __init__(self, file: Path, stream: BinaryIO, arrays: frozenset[str]) -> None:
        self._file, self._stream, self._arrays = file, stream, arrays
        self._size = stream.seek(0, 2)
        stream.seek(0)
        self._strings = 0

    def header(self) -> Header:
        if self._stream.read(4) != MAGIC:
            raise self._refused("it does not begin with its magic bytes")
        version = self._number("<I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            raise self._refused(
                "it is of a big-endian machine"
                if swapped
                else f"its version is {version}, not 2 or 3"
            )
        tensors, entries = self._count("tensors", 24), self._count("metadata", 13)
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._text("a name in the metadata", LONGEST_KEY)
            if key in metadata:
                raise self._refused(f"{key!r} is given twice")
            metadata[key] = self._value(key)
        return Header(metadata, self._tensors(tensors, metadata))

    def _tensors(self, count: int, metadata: dict[str, Any]) -> tuple[str, ...]:
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if (
            not isinstance(alignment, int)
            or not 1 <= alignment <= 1 << 20
            or alignment & (alignment - 1)
        ):
            raise self._refused(
                f"general.alignment: a power of two is expected, not {str(alignment)[:20]}"
            )
        names: dict[str, None] = {}
        end = 0
        for _ in range(count):
            name = self._text("the name of a tensor", LONGEST_KEY)
            if name in names:
                raise self._refused(f"the tensor {name!r} is given twice")
            names[name] = None
            length = self._tensor(name)
            if (offset := self._number("<Q")) != end:
                raise self._refused(f"the tensor {name!r} begins at {offset}, not at {end}")
            last, end = offset + length, offset + length + -length % alignment
        if names:
            here = self._stream.tell()
            needed = here + -here % alignment + last
            if needed > self._size:
                raise self._refused(
                    f"it is torn: it has {many(self._size, 'byte')}, its tensors take {needed:,}"
                )
        return tuple(names)

    def _tensor(self, name: str) -> int:
        """How many bytes a tensor takes."""
        dimensions = self._number("<I")
        if not 1 <= dimensions <= DIMENSIONS:
            raise self._refused(f"the tensor {name!r} has {many(dimensions, 'dimension')}")
        shape: list[int] = [self._number("<Q") for _ in range(dimensions)]
        kind = self._number("<I")
        if kind not in _BLOCKS:
            raise self._refused(f"the tensor {name!r} is of a type, {kind}, that is not known here")
        numbers, width = _BLOCKS[kind]
        if 0 in shape or shape[0] % numbers:
            raise self._refused(
                f"the tensor {name!r} has a shape, {shape}, that its type cannot have"
            )
        return math.prod(shape) // numbers * width

    def _value(self, key: str) -> Any:
        kind = self._number("<I")
        if kind == _STRING:
            return self._text(key, LONGEST_TEXT)
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            raise self._refused(f"{key!r} is of a kind, {kind}, that there is not")
        return self._number(_SCALARS[kind])

    def _array(self, key: str) -> Any:
        kind, count = self._number("<I"), self._number("<Q")
        if kind == _STRING:
            return self._texts(key, count)
        if kind not in _SCALARS:
            raise self._refused(f"{key!r} is an array of a kind, {kind}, that there is not")
        width = struct.calcsize(_SCALARS[kind])
        self._expect(count * width, f"{key!r}, an array of {many(count, 'number')}")
        if key not in self._arrays:
            self._stream.seek(count * width, 1)
            return NOT_KEPT
        if count > MOST_STRINGS:
            raise self._refused(f"{key!r} holds {many(count, 'number')}")
        return [
            one for (one,) in struct.iter_unpack(_SCALARS[kind], self._stream.read(count * width))
        ]

    def _texts(self, key: str, count: int) -> Any:
        self._strings += count
        if self._strings > MOST_STRINGS:
            raise self._refused(f"its arrays hold more than {MOST_STRINGS:,} texts")
        self._expect(8 * count, f"{key!r}, an array of {many(count, 'text')}")
        kept: list[bytes] | None = [] if key in self._arrays else None
        read = self._stream.read
        for _ in range(count):
            length = int.from_bytes(read(8), "little")
            if length > LONGEST_TEXT or len(text := read(length)) < length:
                raise self._refused(f"it is torn, or the length of a text in {key!r} is wrong")
            if kept is not None:
                kept.append(text)
        try:
            return NOT_KEPT if kept is None else [text.decode() for text in kept]
        except UnicodeDecodeError:
            raise self._refused(f"{key!r} is no text in UTF-8") from None

    def _text(self, key: str, longest: int) -> str:
        length = self._number("<Q")
        if length > longest:
            raise self._refused(f"{key!r} has {many(length, 'byte')}")
        self._expect(length, repr(key))
        try:
            return self._stream.read(length).decode()
        except UnicodeDecodeError:
            raise self._refused(f"{key!r} is no text in UTF-8") from None

    def _count(self, what: str, shortest: int) -> int:
        count: int = self._number("<Q")
        if count > MOST_ENTRIES:
            raise self._refused(f"it counts {count:,} {what}")
        self._expect(count * shortest, f"its {count:,} {what}")
        return count

    def _number(self, form: str) -> Any:
        data = self._stream.read(struct.calcsize(form))
        if len(data) < struct.calcsize(form):
            raise self._refused("it is torn: it ends within its header")
        return struct.unpack(form, data)[0]

    def _expect(self, length: int, what: str) -> None:
        left = self._size - self._stream.tell()
        if length > left:
            raise self._refused(
                f"it is torn: {what} would take {many(length, 'byte')}, {left:,} are left"
            )

    def _refused(self, why: str) -> InputError:
        return InputError(f"gguf: {self._file}: expected a GGUF file, but {why}")
