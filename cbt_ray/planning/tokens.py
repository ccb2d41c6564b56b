"""Tokens of a text as an endpoint counts them: by its own tokenizer where that is at hand (a GGUF
in this process), by length otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.prompts import Prompts
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LlamaCppEndpoint, Role, is_finetuned
from cbt_ray.study.recipe import is_hub_id
from cbt_ray.therapy.language import load_language

CHARS_PER_TOKEN = 4.3
"""Of English prose, where no tokenizer is at hand."""
TOKENS_PER_MESSAGE = 5
"""What a chat template puts around a message."""


@dataclass(frozen=True)
class Tokens:
    """How one endpoint counts; `words` are some of the study's own, in its language."""

    gguf: Path | None
    words: str

    def of(self, *texts: str) -> float:
        """Tokens of messages with these texts."""
        return sum(self._count(text) + TOKENS_PER_MESSAGE for text in texts)

    def text(self, tokens: float) -> str:
        """A text of about so many tokens."""
        return filler(self.words, tokens * self.chars)

    @cached_property
    def chars(self) -> float:
        """Characters of a token."""
        return len(self.words) / self._count(self.words)

    def _count(self, text: str) -> float:
        return len(text) / CHARS_PER_TOKEN if self.gguf is None else _counted(self.gguf, text)


def filler(words: str, chars: float) -> str:
    """The words again and again, up to so many characters."""
    length = round(chars)
    return (f"{words} " * (length // (len(words) + 1) + 1))[:length]


def tokens_of(study: Study, role: Role, model: str | None = None) -> Tokens:
    """How a role's endpoint counts; a tuned model counts as what its training starts from.

    `model` is the therapist's, where the export makes it.
    """
    endpoint = study.endpoints[role.endpoint]
    weights = endpoint.gguf if isinstance(endpoint, LlamaCppEndpoint) else None
    if is_finetuned(endpoint):
        weights = study.models[model].recipe.start if model is not None else None
    return Tokens(_at_hand(weights), words_of(study))


def therapist_turns(study: Study, prompts: Prompts) -> int:
    """Therapist turns of a session of a course."""
    rules = study.writing.courses
    if rules.write == "turns":
        return rules.exchanges
    return rules.pairs * len(load_language(prompts).course.parts)


def words_of(study: Study) -> str:
    """Some of the study's own words."""
    said = [study.description, *(patient.profile for patient in study.simulated)]
    if (training := study.patients.training) is not None:
        said += [level for levels in training.characteristics.values() for level in levels]
    return " ".join([*said, *(f"{phase.goals} {phase.techniques}" for phase in study.phases)])


@lru_cache(64)
def _at_hand(weights: str | None) -> Path | None:
    """The file of a tokenizer that can be loaded here."""
    if weights is None or is_hub_id(weights) or not weights.lower().endswith(".gguf"):
        return None
    try:
        path = load_gguf_path(weights)
        _vocabulary(path)
    except InputError:
        return None
    return path


@lru_cache(8)
def _vocabulary(gguf: Path) -> Any:
    """llama.cpp's tokenizer of a file, without its weights."""
    from cbt_ray.llm.llamacpp import load_vocabulary

    return load_vocabulary(gguf)


@lru_cache(100_000)
def _counted(gguf: Path, text: str) -> int:
    return len(_vocabulary(gguf).tokenize(text.encode(), add_bos=False, special=False))
