"""Merging takes as much memory for one large shard as for many small ones: what is held is a
weight, not a file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cbt_ray.training.start.base import Base
from tests.training.export.memory import Peak, Shape, measured, random_adapter, random_model

pytestmark = pytest.mark.train
SHAPE = Shape(hidden=1024, intermediate=4096, heads=16, kv_heads=4, vocabulary=49152, layers=12)
SIZE = 2 * SHAPE.parameters()


def test_memory_of_a_merge_does_not_grow_with_its_shards(base: Base, tmp_path: Path) -> None:
    assert SIZE > 500e6
    large, small = merged(tmp_path / "one", SIZE, base), merged(tmp_path / "eight", SIZE // 8, base)
    assert abs(large.resident - small.resident) < SIZE / 10
    assert large.own < 0.8 * SIZE  # Python, torch and the tokenizer are half of that


def merged(folder: Path, shard: int, base: Base) -> Peak:
    random_model(SHAPE, folder / "base", shard, base)
    random_adapter(SHAPE, folder / "adapter")
    assert (len(list((folder / "base").glob("*.safetensors"))) == 1) == (shard == SIZE)
    return measured("merge", folder)
