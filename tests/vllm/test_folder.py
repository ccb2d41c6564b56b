"""The folder that vLLM reads: what lies beside the weights on a hub must not reach a prompt or a
sampling.
"""

from __future__ import annotations

import json
from pathlib import Path

from cbt_ray.llm.template import ChatTemplate
from cbt_ray.training.start.base import Base
from cbt_ray.vllm.folder import readable

TEMPLATE = "{{ strftime_now('%d %b %Y') }} {% for one in messages %}{{ one.content }}{% endfor %}"


def test_tokenizer_sampling_and_date_are_those_of_training(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    hub.mkdir()
    files = {
        "config.json": {"model_type": "llama"},
        "tokenizer.json": {},
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "chat_template": "x"},
        "generation_config.json": {"temperature": 0.6, "top_k": 20, "eos_token_id": 7},
        "chat_template.json": {"chat_template": "y"},
        "tokenizer.model": {},
    }
    for name, value in files.items():
        (hub / name).write_text(json.dumps(value))
    template = ChatTemplate(TEMPLATE, "<s>", "</s>", "", "2026-03-05")
    folder = readable(Base(hub, "", template, 1, 2, 0, 9), tmp_path / "served")
    found = {file.name: file for file in folder.iterdir()}
    assert set(found) == {*files, "chat_template.jinja"} - {"chat_template.json", "tokenizer.model"}
    assert found["config.json"].samefile(hub / "config.json")
    settings = json.loads(found["tokenizer_config.json"].read_text())
    assert settings == {"tokenizer_class": "PreTrainedTokenizerFast"}
    ends = json.loads(found["generation_config.json"].read_text())
    assert ends == {"eos_token_id": [2, 9], "pad_token_id": 0}
    assert found["chat_template.jinja"].read_text().startswith('{{ "05 Mar 2026" }} ')
