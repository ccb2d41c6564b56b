"""Anything litellm can call. Asks once and never retries: the caller does, so that its count of calls is the server's."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.llm.litellm_faults import Fault
from cbt_ray.llm.request import Finish, Reply, Request
from cbt_ray.study.endpoint import LiteLLMEndpoint, Sampling

NO_KEY = "none"
"""Sent to a server of one's own that needs no key; without it litellm would send it the user's OPENAI_API_KEY."""
CHARS_PER_TOKEN = 4
"""Where a server reports no usage, tokens are estimated from characters."""
_LENGTHS = frozenset({"minLength", "maxLength"})


class LiteLLMModel:
    """One endpoint of the study file behind litellm."""

    def __init__(self, name: str, endpoint: LiteLLMEndpoint) -> None:
        self._name = name
        self._endpoint = endpoint
        self._key = _key(name, endpoint)
        self._litellm = _import()
        self._check_structured()

    def complete(self, request: Request) -> Reply:
        """Answer; errors are told apart in litellm_faults."""
        fault: Exception | None = None
        try:
            response = self._litellm.completion(**self._arguments(request))
        except Exception as error:
            described = Fault(self._name, self._endpoint.model, self._key, error)
            if described.is_refusal:
                return Reply("", Finish.REFUSED, _characters(request) // CHARS_PER_TOKEN, 0, self._endpoint.model, None)
            fault = described.as_ours()
        if fault is not None:  # raised here and not above, so that it does not drag litellm's exception, and its key, along
            raise fault
        return self._reply(request, response)

    def _arguments(self, request: Request) -> dict[str, Any]:
        endpoint, sampling = self._endpoint, request.sampling
        arguments: dict[str, Any] = {
            "model": endpoint.model,
            "messages": _messages(request, in_prompt=endpoint.structured != "json_schema"),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": request.seed,
            "timeout": endpoint.timeout_s,
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": True,
        }
        if self._key is not None:
            arguments["api_key"] = self._key
        if endpoint.api_base is not None:
            arguments["api_base"] = endpoint.api_base
            arguments["extra_body"] = _local_sampling(sampling)
        if request.schema is not None and endpoint.structured != "none":
            arguments["response_format"] = self._response_format(request.schema)
        return arguments

    def _response_format(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        own_server = self._endpoint.api_base is not None
        if self._endpoint.structured == "json_object":  # llama.cpp's servers take a schema beside it, others ignore it
            return {"type": "json_object", "schema": dict(schema)} if own_server else {"type": "json_object"}
        # Providers refuse schemas with lengths in their strict mode; parsing checks them anyway. Local servers enforce them.
        sent = schema if own_server else _without_lengths(schema)
        return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": sent}}

    def _reply(self, request: Request, response: Any) -> Reply:
        if not response.choices:
            raise Infrastructure(f"endpoints.{self._name}: the answer holds no choices", "malformed")
        choice = response.choices[0]
        text = choice.message.content or ""
        usage = getattr(response, "usage", None)
        prompt = getattr(usage, "prompt_tokens", 0) or _characters(request) // CHARS_PER_TOKEN
        reply = getattr(usage, "completion_tokens", 0) or -(-len(text) // CHARS_PER_TOKEN)
        model = str(response.model or self._endpoint.model)
        return Reply(text, _finish(choice), prompt, reply, model, self._cost(response, prompt, reply))

    def _cost(self, response: Any, prompt: int, reply: int) -> float | None:
        """The study file's price, else litellm's; a server of one's own has none, whatever its model is called."""
        if self._endpoint.price is not None:
            return (prompt * self._endpoint.price[0] + reply * self._endpoint.price[1]) / 1_000_000
        if self._endpoint.api_base is not None:
            return None
        try:
            return float(self._litellm.completion_cost(completion_response=response, model=self._endpoint.model))
        except Exception:  # litellm raises a bare Exception for a model without a price
            return None

    def _check_structured(self) -> None:
        """A provider that cannot be held to a schema would drop it silently: that is said before anything is paid for."""
        endpoint = self._endpoint
        if endpoint.structured == "none" or endpoint.api_base is not None:
            return
        try:
            known = self._litellm.get_supported_openai_params(endpoint.model) or []
        except Exception:  # an unknown provider is named by the first call
            return
        if known and "response_format" not in known:
            raise InputError(
                f"endpoints.{self._name}.structured: expected none, since litellm has no response_format for {endpoint.model}"
            )


def _key(name: str, endpoint: LiteLLMEndpoint) -> str | None:
    """The key from its environment variable; without one, providers are left to litellm and own servers get a placeholder."""
    if endpoint.api_key_env is None:
        return None if endpoint.api_base is None else NO_KEY
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise InputError(f"endpoints.{name}.api_key_env: expected the environment variable {endpoint.api_key_env} to hold a key")
    return key


def _import() -> Any:
    """Import litellm quietly: no price list from the network, no telemetry, no prints."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


def _messages(request: Request, *, in_prompt: bool) -> list[dict[str, str]]:
    messages = [message.to_json() for message in request.messages]
    if request.schema is not None and in_prompt:
        schema = json.dumps(request.schema, ensure_ascii=False)
        messages[-1]["content"] += f"\n\nAnswer with one JSON object and nothing else. It follows this JSON schema:\n{schema}"
    return messages


def _local_sampling(sampling: Sampling) -> dict[str, float]:
    """What only servers of one's own know; llama.cpp and vLLM name the penalty differently and ignore the other's name."""
    extra = {"min_p": sampling.min_p} if sampling.min_p else {}
    if sampling.repeat_penalty != 1:
        extra |= {"repeat_penalty": sampling.repeat_penalty, "repetition_penalty": sampling.repeat_penalty}
    return extra


def _without_lengths(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            name: _without_lengths(part)
            for name, part in schema.items()
            if name not in _LENGTHS or isinstance(part, Mapping)  # a property may be called so
        }
    return [_without_lengths(part) for part in schema] if isinstance(schema, list | tuple) else schema


def _finish(choice: Any) -> Finish:
    fields = getattr(choice.message, "provider_specific_fields", None) or {}
    if choice.finish_reason == "content_filter" or getattr(choice.message, "refusal", None) or fields.get("refusal"):
        return Finish.REFUSED
    return Finish.LENGTH if choice.finish_reason == "length" else Finish.STOP


def _characters(request: Request) -> int:
    return sum(len(message.content) for message in request.messages)
