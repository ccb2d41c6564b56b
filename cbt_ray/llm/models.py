"""The models that a worker process holds open: loaded once, shared by its jobs, one for each
endpoint, role and file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from cbt_ray.errors import InputError
from cbt_ray.llm.caller import Caller
from cbt_ray.llm.gate import Gate
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.request import Ask, LanguageModel, Message, Reply, Request
from cbt_ray.llm.server import Served, ServerModel, is_own_server
from cbt_ray.study.endpoint import (
    FINETUNED,
    Endpoint,
    LiteLLMEndpoint,
    LlamaCppEndpoint,
    Sampling,
    VllmEndpoint,
)
from cbt_ray.study.study import TODAY

PROBE_TOKENS = 16
Made = Path | Served | None
"""What answers at a `finetuned` endpoint, which only the caller knows: a local file, or a model of
vLLM's."""
Slot = tuple[str, str, Made]
"""Endpoint, role, what was made: what has a KV prefix of its own."""


class Models:
    """Opens models by name and keeps them; safe for threads."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], gate: Gate, today: str = TODAY.isoformat()
    ) -> None:
        self._endpoints = endpoints
        self._gate = gate
        self._today = today
        self._open: dict[Slot, LanguageModel] = {}
        self._users: Counter[Slot] = Counter()
        self._lock = Lock()

    def open(self, endpoint_name: str, role: str, made: Made = None) -> Caller:
        """A fresh caller (its usage is its own) on a model that may be open already.

        A model stays open as long as somebody uses it, and beyond that until another of its kind is
        opened.
        """
        slot = self._slot(endpoint_name, role, made)
        endpoint = self._endpoints[endpoint_name]
        with self._lock:
            if slot not in self._open:
                self._make_room(slot)
                self._open[slot] = language_model(endpoint_name, endpoint, made, self._today)
            self._users[slot] += 1
            return Caller(self._open[slot], endpoint_name, endpoint, self._gate)

    def release(self, endpoint_name: str, role: str, made: Made = None) -> None:
        """One user less."""
        with self._lock:
            self._users[self._slot(endpoint_name, role, made)] -= 1

    def close(self) -> None:
        """Close all models."""
        with self._lock:
            for slot in list(self._open):
                self._close(slot)

    def _slot(self, endpoint_name: str, role: str, made: Made) -> Slot:
        endpoint = self._endpoints[endpoint_name]
        # One that answers many at once keeps the conversations of all roles.
        alone = isinstance(endpoint, LlamaCppEndpoint) and endpoint.parallel == 1
        return endpoint_name, role if alone or isinstance(made, Path) else "", made

    def _make_room(self, slot: Slot) -> None:
        """Close the therapists of other arms that nobody uses: two models of 8 GB need not fit side
        by side.
        """
        kind, arm = _parts(slot)
        for other in list(self._open):
            if arm and _parts(other)[0] == kind and not self._users[other]:
                self._close(other)

    def _close(self, slot: Slot) -> None:
        close = getattr(self._open.pop(slot), "close", None)
        if close is not None:
            close()


def _parts(slot: Slot) -> tuple[str, str]:
    """A role's kind and whose it is: `therapist`, `qwen-tuned`."""
    kind, _, whose = slot[1].partition(".")
    return kind, whose


def language_model(
    name: str, endpoint: Endpoint, made: Made = None, today: str = TODAY.isoformat()
) -> LanguageModel:
    """The model that an endpoint of the study file describes.

    Libraries are imported only for the kind that needs them.

    `today` is the date that a chat template is told.
    """
    if isinstance(endpoint, LlamaCppEndpoint):
        from cbt_ray.llm.llamacpp import LlamaCppModel

        file = made if isinstance(made, Path) else _file(name, endpoint)
        return LlamaCppModel(
            file,
            context=endpoint.context,
            threads=endpoint.threads,
            parallel=endpoint.parallel,
            gpu_layers=endpoint.gpu_layers,
            today=today,
        )
    if isinstance(endpoint, LiteLLMEndpoint):
        if is_own_server(endpoint):
            return ServerModel(name, endpoint)
        from cbt_ray.llm.litellm_api import LiteLLMModel

        return LiteLLMModel(name, endpoint)
    if isinstance(endpoint, VllmEndpoint):
        if not isinstance(made, Served):
            raise InputError(
                f"endpoints.{name}: expected to be asked for one of the study's models"
            )
        return ServerModel(name, endpoint.server(*made), ours=True)
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


def _file(name: str, endpoint: LlamaCppEndpoint) -> Path:
    if endpoint.gguf == FINETUNED:
        raise InputError(
            f"endpoints.{name}.gguf: `{FINETUNED}` has no file yet; run `cbt-ray export` first"
        )
    source = load_gguf_path(endpoint.gguf)
    if endpoint.requantize is None:
        return source
    from cbt_ray.llm.quantize import requantized

    return requantized(source, endpoint.requantize, endpoint.threads)
