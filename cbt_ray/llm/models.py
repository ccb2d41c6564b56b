"""The models that a worker process holds open: loaded once, kept between its tasks, one for each
endpoint, role and file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.llm.caller import Caller
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.meter import Gate
from cbt_ray.llm.request import Ask, LanguageModel, Message, Reply, Request
from cbt_ray.llm.server import ServerModel, is_own_server
from cbt_ray.study.endpoint import FINETUNED, Endpoint, LiteLLMEndpoint, LlamaCppEndpoint, Sampling
from cbt_ray.study.study import TODAY

PROBE_TOKENS = 16
Slot = tuple[str, str, Path | None]
"""Endpoint, role, file: what has a KV prefix of its own."""


class Models:
    """Opens models by name and keeps them; used by one worker process at a time."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], meter: Gate, today: str = TODAY.isoformat()
    ) -> None:
        self._endpoints = endpoints
        self._meter = meter
        self._today = today
        self._open: dict[Slot, LanguageModel] = {}

    def open(self, endpoint_name: str, role: str, gguf: Path | None = None) -> Caller:
        """A fresh caller (its usage is its own) on a model that may be open already.

        `gguf` is the local file of a `finetuned` endpoint, which only the caller knows.
        """
        endpoint = self._endpoints[endpoint_name]
        slot = (endpoint_name, role if isinstance(endpoint, LlamaCppEndpoint) else "", gguf)
        if slot not in self._open:
            self._open[slot] = language_model(endpoint_name, endpoint, gguf, self._today)
        return Caller(self._open[slot], endpoint_name, endpoint, self._meter)

    def keep(self, slots: Collection[Slot]) -> None:
        """Close every model whose endpoint, role and file are not among these."""
        for slot in [slot for slot in self._open if slot[1] and slot not in slots]:
            model = self._open.pop(slot)
            close = getattr(model, "close", None)
            if close is not None:
                close()


def language_model(
    name: str, endpoint: Endpoint, gguf: Path | None = None, today: str = TODAY.isoformat()
) -> LanguageModel:
    """The model that an endpoint of the study file describes.

    Libraries are imported only for the kind that needs them.

    `today` is the date that a chat template is told.
    """
    if isinstance(endpoint, LlamaCppEndpoint):
        from cbt_ray.llm.llamacpp import LlamaCppModel

        file = _file(name, endpoint, gguf)
        return LlamaCppModel(file, context=endpoint.context, threads=endpoint.threads, today=today)
    if isinstance(endpoint, LiteLLMEndpoint):
        if is_own_server(endpoint):
            return ServerModel(name, endpoint)
        from cbt_ray.llm.litellm_api import LiteLLMModel

        return LiteLLMModel(name, endpoint)
    from cbt_ray.llm.scripted import ScriptedModel

    return ScriptedModel(endpoint)


def probe(ask: Ask, role: str, sampling: Sampling) -> Reply:
    """One short call that proves that the role's endpoint answers when it is asked so, before a
    stage is paid for.
    """
    greeting = Message("user", f"Reply with the word ready. ({role})")
    return ask(
        Request((greeting,), sampling.model_copy(update={"max_tokens": PROBE_TOKENS}), seed=0)
    )


def _file(name: str, endpoint: LlamaCppEndpoint, gguf: Path | None) -> Path:
    if gguf is not None:
        return gguf
    if endpoint.gguf == FINETUNED:
        raise InputError(
            f"endpoints.{name}.gguf: `{FINETUNED}` has no file yet; run the finetune stage first"
        )
    return load_gguf_path(endpoint.gguf)
