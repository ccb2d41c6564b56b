"""A model's folder as vLLM has to read it: the weights and the tokenizer of training, and nothing
beside them that would change a prompt or a sampling.
"""

from __future__ import annotations

import json
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

from cbt_ray.reading import read_json
from cbt_ray.training.links import link_others
from cbt_ray.training.start.base import Base

_SETTINGS, _GENERATION, _TEMPLATE = (
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)
_LEFT_OUT = {"chat_template.json", "tokenizer.model"}
_DATE = re.compile(r"strftime_now\(\s*(['\"])([^'\"]*)\1\s*\)")


def readable(base: Base, folder: Path) -> Path:
    """Links to the model's files, beside which lie what would be read otherwise.

    By the class that tokenizer_config.json names, transformers builds another tokenizer than that
    of tokenizer.json (a blank more or less after a control token); generation_config.json ends
    turns, and would draw otherwise than a request says; a template asks for the date.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    link_others(base.folder, folder, {_SETTINGS, _GENERATION, _TEMPLATE} | _LEFT_OUT)
    settings = {**read_json(base.folder / _SETTINGS), "tokenizer_class": "PreTrainedTokenizerFast"}
    settings.pop("chat_template", None)
    ends = sorted({base.eos_id, base.end_id})
    _write(folder / _SETTINGS, settings)
    _write(folder / _GENERATION, {"eos_token_id": ends, "pad_token_id": base.pad_id})
    template = _dated(base.template.source, date.fromisoformat(base.template.today))
    (folder / _TEMPLATE).write_bytes(template.encode())
    return folder


def _dated(template: str, today: date) -> str:
    """A template with the study's date: vLLM would give it that of the day."""
    return _DATE.sub(lambda found: json.dumps(today.strftime(found[2])), template)


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
