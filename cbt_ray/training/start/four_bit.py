"""A checkpoint whose linear layers are stored in 4 bit by bitsandbytes, as 16-bit weights: what is
merged, converted and judged.

Such a folder cannot be merged into, and its 16-bit original is another model. So the numbers that
its codes stand for are written out once, and training makes NF4 of all linear layers, as of any
16-bit weights: where the checkpoint was NF4 with double quantization throughout, the same codes,
but for what rounding does to the scales of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.reading import loads, read_bytes
from cbt_ray.training.links import link_others
from cbt_ray.training.shard import (
    INDEX,
    Shard,
    check_safetensors,
    opened,
    read_index,
    rounded,
    shards_of,
    write_f16,
    write_index,
    write_settings,
)

_STATE = ".quant_state.bitsandbytes__"
"""Between a weight's name and the kind of its codes: the file of how it was quantized, as JSON."""


def is_four_bit(folder: Path) -> bool:
    """Whether a model's config.json says so.

    Raises InputError where it is quantized in any other way.
    """
    file = folder / "config.json"
    return says_four_bit(read_bytes(file), str(file))


def check_folder(folder: Path) -> None:
    """Raise InputError where a Hugging Face folder is no model that can be trained: settings, and
    all of its weights, whole.
    """
    is_four_bit(folder)
    files = shards_of(folder)
    if not files:
        raise InputError(
            f"{folder}: expected weights as safetensors, found none; transformers' save_pretrained "
            "writes them of other files"
        )
    for file in files:
        check_safetensors(folder / file)


def says_four_bit(settings: bytes, name: str) -> bool:
    """The same of the text of a config.json, which an InputError calls `name`."""
    try:
        how = loads(settings).get("quantization_config")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{name}: expected a model's settings ({error})") from error
    if not how:
        return False
    known = how if isinstance(how, dict) else {}
    if known.get("quant_method") != "bitsandbytes" or not known.get("load_in_4bit"):
        found = (
            "8 bit by bitsandbytes"
            if known.get("load_in_8bit")
            else str(known.get("quant_method", how))
        )
        raise InputError(
            f"{name}: quantization_config: expected none, or 4 bit by bitsandbytes, not {found}; "
            "give the 16-bit weights"
        )
    return True


def widen(source: Path, folder: Path) -> None:
    """Write the model with f16 weights into an empty folder, a weight at a time.

    The other files are links.
    """
    write_settings(source, folder)
    link_others(
        source,
        folder,
        {INDEX, "config.json", *(shard.name for shard in source.glob("*.safetensors"))},
    )
    _write_weights(source, folder)


def _write_weights(source: Path, folder: Path) -> None:
    with ExitStack() as stack:
        shards = {
            name: stack.enter_context(opened(source / name, packed=True))
            for name in shards_of(source)
        }
        stored = _Stored({weight: shard for shard in shards.values() for weight in shard.entries})
        for name, shard in shards.items():
            shapes = {
                weight: stored.shape(weight)
                for weight in shard.entries
                if not stored.is_beside(weight)
            }
            if shapes:
                write_f16(folder / name, shapes, stored.pieces)
        if (source / INDEX).exists():
            index = read_index(source)
            where = {
                weight: name
                for weight, name in index["weight_map"].items()
                if not stored.is_beside(weight)
            }
            write_index({**index, "weight_map": where}, folder)


class _Stored:
    """All tensors of a checkpoint, in whichever shard they lie; open as long as the shards are."""

    def __init__(self, shards: Mapping[str, Shard]) -> None:
        self._shards = shards
        self._states = {name.partition(_STATE)[0]: name for name in shards if _STATE in name}
        self._beside: dict[str, list[str]] = {weight: [] for weight in self._states}
        for name in shards:
            weight = name.partition(".weight.")[0] + ".weight"
            if name != weight and weight in self._beside:
                self._beside[weight].append(name)
        for name, shard in shards.items():
            if (
                shard.entries[name]["dtype"] == "U8"
                and name not in self._states
                and not self.is_beside(name)
            ):
                raise InputError(
                    f"{shard.file}: {name}: expected what says how it was quantized next to it "
                    f"({_STATE}...)"
                )

    def is_beside(self, name: str) -> bool:
        """Whether it says how a weight was quantized, and is none itself."""
        return name in self._beside.get(name.partition(".weight.")[0] + ".weight", ())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight as it is multiplied with."""
        if name not in self._states:
            return self._shards[name].shapes()[name]
        try:
            return tuple(loads(bytes(self._whole(self._states[name]).numpy()))["shape"])
        except (ValueError, KeyError, TypeError) as error:
            file = self._shards[name].file
            raise InputError(
                f"{file}: {name}: expected a weight in 4 bit by bitsandbytes ({error})"
            ) from None

    def pieces(self, name: str) -> Iterator[Any]:
        """A weight in f16: one that was stored in 4 bit whole, others some rows at a time."""
        shard = self._shards[name]
        if name in self._states:
            yield rounded(self._dequantized(name), f"{shard.file}: {name}")
            return
        for _, rows in shard.pieces(name):
            yield rounded(rows, f"{shard.file}: {name}")

    def _dequantized(self, name: str) -> Any:
        import torch
        from bitsandbytes.functional import QuantState, dequantize_4bit

        beside = {
            other.removeprefix(f"{name}."): self._whole(other) for other in self._beside[name]
        }
        try:
            state = QuantState.from_dict(beside, device=torch.device("cpu"))
            state.dtype = torch.float32  # its own one rounds once more
            return dequantize_4bit(self._whole(name), state)
        except (
            AssertionError,
            AttributeError,
            KeyError,
            RuntimeError,
            ValueError,
        ) as error:  # the library checks little
            raise InputError(
                f"{self._shards[name].file}: {name}: expected a weight in 4 bit by bitsandbytes "
                f"({error})"
            ) from error

    def _whole(self, name: str) -> Any:
        shape = self._shards[name].shapes()[name]
        return self._shards[name].rows(name, 0, shape[0] if shape else 1).reshape(shape)
