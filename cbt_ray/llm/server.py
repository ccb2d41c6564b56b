"""An OpenAI-compatible server of one's own, asked over HTTP without litellm: what it answers is
read as it came.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from cbt_ray.llm.chat_request import NO_KEY, chat_request, key_of, local_sampling
from cbt_ray.llm.completion import Reading, utc_now
from cbt_ray.llm.connection import Deadline
from cbt_ray.llm.exchange import Unanswered, exchange
from cbt_ray.llm.faults import Where
from cbt_ray.llm.request import Reply, Request
from cbt_ray.study.endpoint import LiteLLMEndpoint

_COMPATIBLE = frozenset(
    {
        "openai",
        "hosted_vllm",
        "custom_openai",
        "openai_like",
        "lm_studio",
        "llamafile",
        "litellm_proxy",
    }
)
"""litellm's names for servers that speak OpenAI's chat completions as they are."""
_PATH = "/chat/completions"


class Served(NamedTuple):
    """A model of the study in vLLM: its base model's name in the study file, and its own in
    requests, which holds a key.
    """

    model: str
    name: str


def is_own_server(endpoint: LiteLLMEndpoint) -> bool:
    """Whether an endpoint is asked directly.

    OpenAI's and Azure's own want names that litellm knows for each model.
    """
    host = urlsplit(endpoint.api_base or "").hostname or ""
    theirs = host.endswith(("openai.com", "azure.com"))
    return bool(host) and not theirs and endpoint.model.partition("/")[0] in _COMPATIBLE


class ServerModel:
    """One endpoint of the study file with an address of its own."""

    def __init__(
        self,
        name: str,
        endpoint: LiteLLMEndpoint,
        *,
        ours: bool = False,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        key = key_of(name, endpoint)
        self._endpoint = endpoint
        self._where = Where(name, endpoint.model, None if key == NO_KEY else key, ours)
        self._now = now
        base = (endpoint.api_base or "").rstrip("/")
        self._url = base if base.endswith(_PATH) else base + _PATH
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "cbt-ray",
        }

    def complete(self, request: Request) -> Reply:
        """Answer, by one request; errors are told apart in faults."""
        endpoint = self._endpoint
        asked = chat_request(request, endpoint, endpoint.model.partition("/")[2])
        body = json.dumps(asked | local_sampling(request.sampling)).encode()
        try:
            answer = exchange(
                "POST", self._url, self._headers, body, Deadline.after(endpoint.timeout_s)
            )
        except Unanswered as lost:
            raise self._where.lost(lost) from None
        return Reading(self._where, request, endpoint.cost, self._now).reply(answer)
