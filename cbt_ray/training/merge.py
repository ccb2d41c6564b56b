"""Adapter and base made one model: W + alpha/r * B A in fp32 on the 16- or 32-bit base (never the 4-bit one), stored as f16.

Shard by shard from file to file, so memory is that of one shard. f16 and not bf16: rounding to bf16 loses a quarter of what a
short training gained. Tokenizer and chat template are copied byte for byte.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.training.base import Base

_COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "tokenizer.model",
    "generation_config.json",
    "model.safetensors.index.json",
)


def merge(base: Base, adapter: Path | None, folder: Path) -> Path:
    """Write the merged model to a folder; without an adapter the base itself, rounded the same way, to compare with."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    deltas = _Deltas(adapter)
    for shard in sorted(base.folder.glob("*.safetensors")):
        _merge_shard(shard, deltas, folder / shard.name)
    deltas.expect_all_used()
    config = json.loads((base.folder / "config.json").read_text())
    config.pop("torch_dtype", None)
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}, indent=1) + "\n")
    for name in _COPIED:
        if (base.folder / name).exists():
            shutil.copyfile(base.folder / name, folder / name)
    return folder


def _merge_shard(source: Path, deltas: _Deltas, target: Path) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    merged = {}
    with safe_open(source, framework="pt") as shard:
        for name in shard.keys():  # noqa: SIM118 (no mapping: it has no iterator)
            weight = shard.get_tensor(name).float()
            delta = deltas.of(name)
            weight = weight if delta is None else weight + delta
            merged[name] = weight.to(torch.float16)
            if not torch.isfinite(merged[name]).all():
                raise InputError(f"{source}: {name}: expected weights within the range of f16")
    save_file(merged, target, metadata={"format": "pt"})


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
        return self._scale * (pair["lora_B"].float() @ pair["lora_A"].float())

    def expect_all_used(self) -> None:
        """An adapter for weights that the base lacks belongs to another model."""
        unused = sorted(set(self._pairs) - self._used)
        if unused:
            raise InputError(
                f"adapter: expected the base it was trained on; {unused[0]} and {len(unused) - 1} more are not in it"
            )

    def _read(self, adapter: Path) -> None:
        from safetensors.torch import load_file

        config = json.loads((adapter / "adapter_config.json").read_text())
        if config.get("use_rslora") or config.get("use_dora") or config.get("modules_to_save") or config.get("alpha_pattern"):
            raise InputError(f"{adapter}: expected a plain LoRA adapter")
        self._scale = config["lora_alpha"] / config["r"]
        for name, value in load_file(adapter / "adapter_model.safetensors").items():
            module, part, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
            self._pairs.setdefault(f"{module}.weight", {})[part] = value
