"""What a server of vLLM is asked before any session: which models it has, how it reads a prompt,
how it goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cbt_ray.errors import Infrastructure, InputError, KeyRefused
from cbt_ray.llm.chat_request import NO_KEY
from cbt_ray.llm.connection import Deadline
from cbt_ray.llm.exchange import Answer, Unanswered, exchange
from cbt_ray.llm.request import Message
from cbt_ray.reading import loads

ANSWER_S = 600.0
"""Seconds that an answer to all prompts of a model may take; a CPU is slow."""
LOOK_S = 10.0
"""Seconds of a call that takes no model."""


@dataclass(frozen=True)
class Spoken:
    """How a server goes on after a prompt: its tokens, and logarithms of the probabilities of the
    likeliest ones at each place.
    """

    tokens: list[int]
    best: list[dict[int, float]]


@dataclass(frozen=True)
class Inquiry:
    """One server, by its address with `/v1` at the end."""

    address: str
    key: str = field(default=NO_KEY, repr=False)

    def models(self) -> dict[str, int | None]:
        """The names by which it knows its models, with the context of each."""
        listed = self._asked("GET", "/v1/models")["data"]
        return {one["id"]: one.get("max_model_len") for one in listed}

    def version(self) -> str:
        """Its release."""
        return str(self._asked("GET", "/version")["version"])

    def is_healthy(self) -> bool:
        """Whether it says that it can be asked."""
        try:
            return self._answer("GET", "/health", None, LOOK_S).status == 200
        except Infrastructure:
            return False

    def tokens(self, model: str, messages: Sequence[Message]) -> list[int]:
        """A prompt as its chat template and tokenizer make it."""
        body = {"model": model, "messages": [one.to_json() for one in messages]}
        return list(self._asked("POST", "/tokenize", body)["tokens"])

    def spoken(
        self, model: str, prompts: Sequence[Sequence[int]], most: int, best: int
    ) -> list[Spoken]:
        """How it goes on after each prompt, greedily, for so many tokens, with the best of each
        place.
        """
        body = {
            "model": model,
            "prompt": [list(one) for one in prompts],
            "temperature": 0,
            "max_tokens": most,
            "ignore_eos": True,
            "logprobs": best,
            "return_tokens_as_token_ids": True,
        }
        choices = self._asked("POST", "/v1/completions", body)["choices"]
        found = {one["index"]: one["logprobs"] for one in choices}
        return [
            Spoken(
                [_token(one) for one in found[at]["tokens"]],
                [
                    {_token(one): float(nats) for one, nats in row.items()}
                    for row in found[at]["top_logprobs"]
                ],
            )
            for at in range(len(prompts))
        ]

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._answer(method, path, body, LOOK_S if method == "GET" else ANSWER_S)
        said = " ".join(answer.text.split())[:300]
        if answer.status in (401, 403):
            raise KeyRefused(f"{self.address}: expected a key that it accepts ({said})")
        if answer.status in (408, 429) or answer.status >= 500:
            raise Infrastructure(f"{self.address}: {answer.status}: {said}")
        if answer.status != 200:
            raise InputError(f"{self.address}{path}: expected vLLM ({answer.status}: {said})")
        try:
            return loads(answer.text, numbers="any")
        except ValueError:
            raise InputError(f"{self.address}{path}: expected vLLM's JSON ({said})") from None

    def _answer(
        self, method: str, path: str, body: dict[str, Any] | None, seconds: float
    ) -> Answer:
        root = self.address.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        sent = b"" if body is None else json.dumps(body).encode()
        try:
            return exchange(method, root + path, headers, sent, Deadline.after(seconds))
        except Unanswered as lost:
            raise Infrastructure(f"{self.address}: {lost}", lost.kind, sent=lost.sent) from None


def _token(name: str) -> int:
    found = re.fullmatch(r"token_id:(\d+)", name)
    if found is None:
        raise InputError(f"expected a token's id from vLLM, found {name[:60]!r}")
    return int(found[1])
