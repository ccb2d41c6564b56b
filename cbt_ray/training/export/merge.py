"""Adapter and base made one model: W + alpha/r * B A in fp32 on the 16- or 32-bit base (never the
4-bit one), stored as f16.

From file to file, some rows of a weight at a time: memory is that of B A for the largest weight,
however large the shards are. f16 and not bf16: rounding to bf16 loses a quarter of what a short
training gained. Tokenizer and chat template are copied byte for byte, and the shards stay as the
base has them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.reading import read_json
from cbt_ray.training.shard import (
    INDEX,
    Shard,
    opened,
    read_index,
    rounded,
    shards_of,
    write_f16,
    write_index,
    write_settings,
)
from cbt_ray.training.start.base import Base

_COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "tokenizer.model",
    "added_tokens.json",
    "generation_config.json",
)


def merge(base: Base, adapter: Path | None, folder: Path) -> Path:
    """Write the merged model to a folder.

    Without an adapter the base itself, rounded the same way, to compare with.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    deltas = _Deltas(adapter)
    for name in shards_of(base.folder):
        _merge_shard(base.folder / name, deltas, folder / name)
    deltas.expect_all_used()
    without_weights(base, folder)
    if (base.folder / INDEX).exists():
        write_index(read_index(base.folder), folder)
    return folder


def without_weights(base: Base, folder: Path) -> Path:
    """Write all of a merged model but its weights, which an adapter does not change, to a folder
    that is there.
    """
    write_settings(base.folder, folder)
    for name in _COPIED:
        if (base.folder / name).exists():
            shutil.copyfile(base.folder / name, folder / name)
    return folder


def _merge_shard(source: Path, deltas: _Deltas, target: Path) -> None:
    with opened(source) as shard:

        def pieces(name: str) -> Iterator[Any]:
            for piece in _merged(shard, name, deltas):
                yield rounded(piece, f"{source}: {name}")

        write_f16(target, shard.shapes(), pieces)


def _merged(shard: Shard, name: str, deltas: _Deltas) -> Iterator[Any]:
    """A weight in fp32 with what the adapter adds to it, some rows at a time."""
    delta = deltas.of(name)
    for begin, rows in shard.pieces(name):
        yield rows.float() if delta is None else rows + delta[begin : begin + len(rows)]


class _Deltas:
    """What an adapter adds to each weight."""

    def __init__(self, adapter: Path | None) -> None:
        self._pairs: dict[str, dict[str, Any]] = {}
        self._scale = 0.0
        self._used: set[str] = set()
        if adapter is not None:
            self._read(adapter)

    def of(self, name: str) -> Any | None:
        """alpha/r * B A for one weight, None where the adapter has nothing for it."""
        pair = self._pairs.get(name)
        if pair is None:
            return None
        self._used.add(name)
        return (pair["lora_B"].float() @ pair["lora_A"].float()).mul_(self._scale)

    def expect_all_used(self) -> None:
        """An adapter for weights that the base lacks belongs to another model."""
        unused = sorted(set(self._pairs) - self._used)
        if unused:
            raise InputError(
                f"adapter: expected the base it was trained on; {unused[0]} and {len(unused) - 1} "
                "more are not in it"
            )

    def _read(self, adapter: Path) -> None:
        from safetensors.torch import load_file

        config = read_json(adapter / "adapter_config.json")
        if (
            config.get("use_rslora")
            or config.get("use_dora")
            or config.get("modules_to_save")
            or config.get("alpha_pattern")
        ):
            raise InputError(f"{adapter}: expected a plain LoRA adapter")
        self._scale = config["lora_alpha"] / config["r"]
        for name, value in load_file(adapter / "adapter_model.safetensors").items():
            module, part, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
            self._pairs.setdefault(f"{module}.weight", {})[part] = value
