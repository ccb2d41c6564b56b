"""What another trainer makes of an export, in an environment of its own: started as a script with
its name, its configuration's path and a folder for the model; prints token ids and labels as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml


def axolotl(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """By its schema, which refuses what it does not know, and its own prompt strategy."""
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from datasets import load_dataset
    from transformers import AutoTokenizer

    machine = {"bf16": True, "n_gpu": 1, "compute_capability": "sm_90", "fp8": False}
    known = validate_config(DictDefault(fields), machine | {"tf32": True}, {"torch_version": "2.9"})
    assert not set(fields) - set(known)
    if known.chat_template == "jinja" and "{%" not in known.chat_template_jinja:
        known.chat_template_jinja = Path(known.chat_template_jinja).read_text()
    tokenizer = AutoTokenizer.from_pretrained(fields["base_model"])
    part = known.datasets[0]
    strategy = load(tokenizer, known, ds_cfg=DictDefault(dict(part)))
    rows = load_dataset(part["ds_type"], data_files=part["path"], split=part["split"])
    return [dict(strategy.tokenize_prompt(row)) for row in rows]


def llama_factory(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """By its parser, which refuses what it does not know, and its own loader."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from transformers import AutoTokenizer

    of_cpu = {"bf16": False, "use_cpu": True}
    model, data, training, _, _ = get_train_args({**fields, **of_cpu})
    tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path)
    template = get_template_and_fix_tokenizer(tokenizer, data)
    found = get_dataset(template, model, data, training, "sft", tokenizer=tokenizer)
    return [dict(row) for row in found["train_dataset"]]


if __name__ == "__main__":
    name, file, model = sys.argv[1:]
    said = yaml.safe_load(Path(file).read_text())
    said[{"axolotl": "base_model", "llama_factory": "model_name_or_path"}[name]] = model
    rows = {"axolotl": axolotl, "llama_factory": llama_factory}[name](said)
    print(json.dumps([[list(row["input_ids"]), list(row["labels"])] for row in rows]))
