"""A request as chat APIs take it, and the key that goes along."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.request import Request
from cbt_ray.study.endpoint import LiteLLMEndpoint, Sampling

NO_KEY = "none"
"""Sent to a server of one's own that needs no key; without it litellm would send it the user's
OPENAI_API_KEY."""
_LENGTHS = frozenset({"minLength", "maxLength"})


def chat_request(request: Request, endpoint: LiteLLMEndpoint, model: str) -> dict[str, Any]:
    """What is asked of every server and provider.

    What only servers of one's own know is not in it.
    """
    sampling = request.sampling
    asked: dict[str, Any] = {
        "model": model,
        "messages": _messages(request, endpoint),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed,
    }
    if request.schema is not None and endpoint.structured != "none":
        asked["response_format"] = _response_format(request.schema, endpoint)
    return asked


def local_sampling(sampling: Sampling) -> dict[str, float]:
    """What only servers of one's own know.

    Llama.cpp and vLLM name the penalty differently and ignore the other's name.
    """
    extra = {"min_p": sampling.min_p} if sampling.min_p else {}
    if sampling.repeat_penalty != 1:
        penalty = sampling.repeat_penalty
        extra |= {"repeat_penalty": penalty, "repetition_penalty": penalty}
    return extra


def key_of(name: str, endpoint: LiteLLMEndpoint) -> str | None:
    """The key from its environment variable.

    Without one, providers are left to litellm and own servers get a placeholder.
    """
    if endpoint.api_key_env is None:
        return None if endpoint.api_base is None else NO_KEY
    key = os.environ.get(endpoint.api_key_env, "").strip()
    variable = f"the environment variable {endpoint.api_key_env}"
    if not key:
        raise InputError(f"endpoints.{name}.api_key_env: expected {variable} to hold a key")
    if not re.fullmatch(
        r"[\x21-\x7e]+", key
    ):  # a header takes no other; http.client would quote it
        expected = f"expected {variable} to hold a key in one line of printable ASCII"
        raise InputError(f"endpoints.{name}.api_key_env: {expected}")
    return key


def _messages(request: Request, endpoint: LiteLLMEndpoint) -> list[dict[str, str]]:
    messages = [message.to_json() for message in request.messages]
    if endpoint.system == "first_user" and [m["role"] for m in messages[:2]] == ["system", "user"]:
        joined = f"{messages[0]['content']}\n\n{messages[1]['content']}"
        messages[:2] = [{"role": "user", "content": joined}]
    if request.schema is not None and request.told and endpoint.structured != "json_schema":
        schema = json.dumps(request.schema, ensure_ascii=False)
        asked = "Answer with one JSON object and nothing else. It follows this JSON schema:"
        messages[-1]["content"] += f"\n\n{asked}\n{schema}"
    return messages


def _response_format(schema: Mapping[str, Any], endpoint: LiteLLMEndpoint) -> dict[str, Any]:
    own_server = endpoint.api_base is not None
    if endpoint.structured == "json_object":  # llama.cpp's servers take a schema beside it
        wanted: dict[str, Any] = {"type": "json_object"}
        return wanted | {"schema": dict(schema)} if own_server else wanted
    # Providers refuse schemas with lengths in their strict mode; parsing checks them anyway. Local
    # servers enforce them.
    sent = schema if own_server else _without_lengths(schema)
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": sent},
    }


def _without_lengths(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            name: _without_lengths(part)
            for name, part in schema.items()
            if name not in _LENGTHS or isinstance(part, Mapping)  # a property may be called so
        }
    return (
        [_without_lengths(part) for part in schema] if isinstance(schema, list | tuple) else schema
    )
