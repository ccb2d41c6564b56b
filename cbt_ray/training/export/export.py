"""A tuned model as others run it: a Hugging Face folder for vLLM, an F16 GGUF, and the GGUF that
the recipe asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.llm.quantize import quantize
from cbt_ray.store.store import sha256_of
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.export.front import Front
from cbt_ray.training.export.gguf import NAMELESS, Gguf, convert
from cbt_ray.training.export.merge import merge
from cbt_ray.training.start.base import Base


@dataclass(frozen=True)
class Exported:
    """A model in its three forms.

    `gguf` is `f16` where the recipe asks for no other quantization.
    """

    merged: Path
    """16-bit safetensors with tokenizer and chat template, ready for vLLM."""
    f16: Gguf
    gguf: Gguf


def export(
    base: Base,
    adapter: Path | None,
    recipe: Recipe,
    folder: Path,
    threads: int,
    say: Callable[[str], None] = lambda _part: None,
    front: Front = NAMELESS,
) -> Exported:
    """Merge, convert once to F16, and quantize from there.

    Without an adapter the base itself, made the same way.

    The GGUF files say of themselves what `front` does. `say` hears the name of each part as it
    begins.
    """
    say("merge")
    merged = merge(base, adapter, folder / "merged")
    say("convert")
    f16 = convert(merged, folder / "model-f16.gguf", "f16", threads, front)
    if recipe.quantization == "f16":
        return Exported(merged, f16, f16)
    say("quantize")
    target = folder / f"model-{recipe.quantization}.gguf"
    quantize(f16.path, target, recipe.quantization, threads)
    return Exported(merged, f16, Gguf(target, sha256_of(target)))
