"""All schemas of the project are grammars to llama.cpp and to vLLM's guidance backend; xgrammar,
which vLLM takes by itself, refuses some.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from cbt_ray.llm.gguf_file import load_gguf_path
from tests.llm.test_lead_ins import EMBEDDED, _takes
from tests.needs import needs
from tests.vllm.schemas import every

PYTHON = Path(__file__).parents[2] / ".vllm" / "bin" / "python"


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    """Each schema with a text that follows it."""
    return list(every())


@pytest.mark.vllm
def test_the_backends_of_vllm_take_every_schema_but_for_long_repeats_in_xgrammar(
    pairs: list[tuple[str, str]],
) -> None:
    needs("vllm", PYTHON.exists())
    lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
    engines = Path(__file__).with_name("engines.py")
    ran = subprocess.run([PYTHON, engines], input=lines, capture_output=True, text=True, check=True)
    refused = json.loads(ran.stdout.splitlines()[-1])
    assert refused["by_llguidance"] == []
    beyond = {n for n, (schema, _) in enumerate(pairs) if _longest_repeat(schema) > 128}
    assert set(refused["by_xgrammar"]) <= beyond
    assert refused["by_xgrammar"], "else `serve` need not ask for guidance any more"


@pytest.mark.llama
def test_llama_cpp_takes_every_schema(pairs: list[tuple[str, str]]) -> None:
    import llama_cpp

    from cbt_ray.llm.llamacpp import _countable, _grammar, load_vocabulary

    model = load_vocabulary(load_gguf_path(EMBEDDED))
    for schema, text in pairs:
        grammar = _grammar(json.dumps(_countable(json.loads(schema))))
        sampler = llama_cpp.llama_sampler_init_grammar(
            model._model.vocab, grammar._grammar.encode(), grammar._root.encode()
        )
        assert sampler, schema
        assert _takes(sampler, model, text), (schema, text)
        llama_cpp.llama_sampler_free(sampler)


def _longest_repeat(schema: str) -> int:
    return max(map(int, re.findall(r"\]\{\d+,(\d+)\}", schema)), default=0)
