"""The caller: a model, metered.

It waits for leave, counts every attempt and repeats those that the world spoilt.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from cbt_ray.errors import Infrastructure
from cbt_ray.llm.gate import Gate
from cbt_ray.llm.request import LanguageModel, Reply, Request, Usage
from cbt_ray.study.endpoint import Endpoint, Remote

BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0
PATIENCE_S = 300.0
"""A server that asks for a longer pause than this is not waited for: the unit stays owed."""


class Caller:
    """One endpoint in one role, as the protocol calls it (see Ask).

    Raises Infrastructure when its retries are spent.
    """

    def __init__(
        self,
        model: LanguageModel,
        endpoint_name: str,
        endpoint: Endpoint,
        gate: Gate,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.model = model
        self.endpoint_name = endpoint_name
        self.usage = Usage()
        self._retries = endpoint.retries if isinstance(endpoint, Remote) else 0
        self._gate = gate
        self._clock = clock
        self._sleep = sleep
        self._rng = rng if rng is not None else random.Random()

    def __call__(self, request: Request) -> Reply:
        """Answer, after as many attempts as the endpoint allows."""
        for attempt in range(self._retries + 1):
            try:
                return self._attempt(request)
            except Infrastructure as fault:
                asked = fault.retry_after or 0.0
                if attempt == self._retries or asked > PATIENCE_S:
                    raise
                self._sleep(max(asked, self._backoff(attempt)))
        raise AssertionError("unreachable")

    def take_usage(self) -> Usage:
        """What calls cost since this was last asked: one unit's share."""
        usage, self.usage = self.usage, Usage()
        return usage

    def _attempt(self, request: Request) -> Reply:
        permit = self._gate.acquire(self.endpoint_name, estimate_tokens(request))
        began, usage = self._clock(), Usage(calls=1)
        self.usage.calls += 1  # a process that is ended in the middle of the call has it recorded
        try:
            reply = self.model.complete(request)
            usage.prompt_tokens, usage.reply_tokens, usage.cost = (
                reply.prompt_tokens,
                reply.reply_tokens,
                reply.cost or 0.0,
            )
            usage.unpriced = int(reply.cost is None)
            return reply
        except Infrastructure as fault:
            usage.faults[fault.kind] = 1
            usage.calls = int(fault.sent)
            raise
        finally:
            usage.seconds = self._clock() - began
            self.usage.calls -= 1
            self.usage.add(usage)
            self._gate.release(permit, usage)

    def _backoff(self, attempt: int) -> float:
        """Doubling, with jitter: workers that failed together must not come back together."""
        return float(min(LONGEST_BACKOFF_S, BACKOFF_S * 2**attempt) * self._rng.uniform(0.5, 1.0))


def estimate_tokens(request: Request) -> int:
    """Tokens a call will take at most, roughly: four characters each, and the longest reply."""
    return (
        sum(len(message.content) for message in request.messages) // 4 + request.sampling.max_tokens
    )
