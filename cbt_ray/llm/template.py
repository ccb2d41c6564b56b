"""The chat template: one function renders the prompt in training and at inference, so that the two cannot differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cbt_ray.llm.request import Message


@dataclass(frozen=True)
class ChatTemplate:
    """A model's own template (Jinja2, from its GGUF or tokenizer) with the texts of its special tokens."""

    source: str
    bos: str
    eos: str

    def render(self, messages: Sequence[Message], *, answer: bool) -> str:
        """The conversation as text; `answer` opens the assistant's turn behind it.

        The text holds its special tokens, BOS included where the template writes it: tokenize it without adding any.
        """
        return _compiled(self.source).render(
            messages=[message.to_json() for message in messages],
            bos_token=self.bos,
            eos_token=self.eos,
            add_generation_prompt=answer,
        )


@cache
def _compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = _to_json
    return environment.from_string(source)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
