"""A model of 1.07 billion random weights in Q8_0, with the embedded model's tokenizer: what it says
means nothing, what it costs is what such a model costs.

python -m tests.bench.large_model FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, quants

from cbt_ray.llm.gguf_file import load_gguf_path
from tests.stages.scripted import EMBEDDED

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, WORDS = 16, 2048, 8192, 32, 8, 49_152
OWN = (
    *("block_count", "embedding_length", "feed_forward_length", "attention.head_count"),
    *("attention.head_count_kv", "rope.dimension_count"),
)
"""Of the embedded model's metadata, what another shape replaces."""


def write_large_model(file: Path) -> None:
    """Write it: 1.1 GB."""
    writer = gguf.GGUFWriter(str(file), "llama")
    _copy_metadata(writer)
    draw = np.random.default_rng(1)

    def matrix(name: str, rows: int, columns: int) -> None:
        drawn = draw.standard_normal((rows, columns), dtype=np.float32) * 0.02
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(f"{name}.weight", quants.quantize(drawn, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))

    matrix("token_embd", WORDS, WIDTH)
    norm("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm")
        norm(f"{block}.ffn_norm")
        for name in ("attn_q", "attn_output"):
            matrix(f"{block}.{name}", WIDTH, WIDTH)
        for name in ("attn_k", "attn_v"):
            matrix(f"{block}.{name}", WIDTH * KV_HEADS // HEADS, WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            matrix(f"{block}.{name}", INNER, WIDTH)
        matrix(f"{block}.ffn_down", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_metadata(writer: gguf.GGUFWriter) -> None:
    left_out = {"general.architecture", "general.file_type", *(f"llama.{name}" for name in OWN)}
    for field in gguf.GGUFReader(str(load_gguf_path(EMBEDDED))).fields.values():
        if field.name.startswith("GGUF.") or field.name in left_out:
            continue
        if field.types[0] is gguf.GGUFValueType.ARRAY:
            writer.add_array(field.name, field.contents())
        else:
            writer.add_key_value(field.name, field.contents(), field.types[0])
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)


if __name__ == "__main__":
    write_large_model(Path(sys.argv[1]))
