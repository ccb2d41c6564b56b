"""Anything litellm can call.

Asks once and never retries: the caller does, so that its count of calls is the server's.
"""

from __future__ import annotations

import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from cbt_ray.errors import InputError
from cbt_ray.llm.chat_request import chat_request, key_of, local_sampling
from cbt_ray.llm.completion import Reading, utc_now
from cbt_ray.llm.exchange import Answer
from cbt_ray.llm.faults import Where
from cbt_ray.llm.request import Reply, Request
from cbt_ray.llm.wire import Call, calling
from cbt_ray.reading import loads
from cbt_ray.study.endpoint import LiteLLMEndpoint

_FINISH = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")
"""Names of it: OpenAI and Cohere, Gemini, Anthropic, Bedrock, Ollama."""
_PLACES = 200
"""Looked at for it in an answer; it lies near the top."""


class LiteLLMModel:
    """One endpoint of the study file, asked through litellm."""

    def __init__(
        self, name: str, endpoint: LiteLLMEndpoint, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._endpoint = endpoint
        self._key = key_of(name, endpoint)
        self._where = Where(name, endpoint.model, self._key)
        self._now = now
        self._litellm = _import()
        self._check_structured()

    def complete(self, request: Request) -> Reply:
        """Answer.

        What came over the wire decides; litellm's own reading serves for providers of another form.
        """
        response, error = None, None
        with calling(self._endpoint.timeout_s) as call:
            try:
                response = self._litellm.completion(**self._arguments(request))
            except Exception as raised:
                error = raised
        reading = Reading(self._where, request, partial(self._cost, response), self._now)
        if call.answer is not None and _speaks_openai(call.answer):
            return reading.reply(call.answer)
        if error is None and response is not None:
            return self._reply(reading, response, call.answer)
        return self._without_answer(error, call, reading)

    def _arguments(self, request: Request) -> dict[str, Any]:
        endpoint = self._endpoint
        arguments = chat_request(request, endpoint, endpoint.model) | {
            "timeout": endpoint.timeout_s,
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": True,
        }
        if self._key is not None:
            arguments["api_key"] = self._key
        if endpoint.api_base is not None:
            arguments["api_base"] = endpoint.api_base
            arguments["extra_body"] = local_sampling(request.sampling)
        return arguments

    def _reply(self, reading: Reading, response: Any, answer: Answer | None) -> Reply:
        """A reply of a provider with a form of its own, as litellm reads it, with the finish reason
        that was sent.
        """
        choices = getattr(response, "choices", None)
        if not choices:
            raise self._where.world("the answer holds no choices", "malformed")
        choice = choices[0]
        fields = getattr(choice.message, "provider_specific_fields", None) or {}
        native = (getattr(choice, "provider_specific_fields", None) or {}).get(
            "native_finish_reason"
        )
        reason = _sent_reason(answer, native or choice.finish_reason)
        refused = bool(getattr(choice.message, "refusal", None) or fields.get("refusal"))
        finish = reading.finish(reason, refused=refused)
        usage = getattr(response, "usage", None)
        counts = {
            name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")
        }
        thought = str(getattr(choice.message, "reasoning_content", None) or "")
        said = str(choice.message.content or "")
        return reading.made(said, thought, finish, counts, response.model)

    def _without_answer(self, error: Exception | None, call: Call, reading: Reading) -> Reply:
        """Raise what litellm's exception means where nothing over the wire says it.

        A refusal is a reply.
        """
        if call.lost is not None:
            raise self._where.lost(call.lost)
        said = str(error) if error is not None else "litellm gave no answer"
        if call.answer is not None:
            raise self._where.world(f"the answer cannot be read ({said})", "malformed")
        if _named(error, "Timeout", "APITimeoutError", "TimeoutException", "ReadTimeoutError"):
            raise self._where.world(said, "timeout")
        status = getattr(error, "status_code", None)
        if isinstance(status, int) and not _is_ours(error):
            told = {"error": {"message": said, "code": getattr(error, "code", None)}}
            return reading.reply(Answer(status, {}, json.dumps(told).encode()))
        if _named(error, "ConnectionError", "TransportError", "EndpointConnectionError"):
            raise self._where.world(said, "connection")
        expected = f"expected a model that litellm can call ({self._where.said(said)})"
        raise InputError(f"endpoints.{self._where.endpoint}.model: {expected}")

    def _cost(self, response: Any, prompt: int, written: int) -> float | None:
        """The study file's price, else litellm's.

        A server of one's own has none, whatever its model is called.
        """
        endpoint = self._endpoint
        if endpoint.price is not None or endpoint.api_base is not None:
            return endpoint.cost(prompt, written)
        model = endpoint.model
        prices: tuple[Callable[[], float], ...] = (
            # The response knows what was cached; its counts may be none.
            lambda: self._litellm.completion_cost(completion_response=response, model=model),
            lambda: sum(self._litellm.cost_per_token(model, prompt, written)),
        )
        for priced in prices:
            try:
                cost = float(priced())
            except Exception:  # litellm raises a bare Exception for a model without a price
                cost = math.nan
            if math.isfinite(cost) and cost >= 0:
                return cost
        return None

    def _check_structured(self) -> None:
        """A provider that cannot be held to a schema would drop it silently: that is said before
        anything is paid for.
        """
        endpoint = self._endpoint
        if endpoint.structured == "none" or endpoint.api_base is not None:
            return
        try:
            known = self._litellm.get_supported_openai_params(endpoint.model) or []
        except Exception:  # an unknown provider is named by the first call
            return
        if known and "response_format" not in known:
            raise InputError(
                f"endpoints.{self._where.endpoint}.structured: expected none, since litellm has "
                f"no response_format for {endpoint.model}"
            )


def _speaks_openai(answer: Answer) -> bool:
    """Whether an answer is read here: an error, no JSON, or a completion in OpenAI's form."""
    if not 200 <= answer.status < 300:
        return True
    try:
        document = loads(answer.text, numbers="any")
    except ValueError:
        return True
    return not isinstance(document, Mapping) or bool({"choices", "error"} & document.keys())


def _sent_reason(answer: Answer | None, otherwise: Any) -> Any:
    """The finish reason as it was sent, wherever a provider puts it and even where it is null."""
    left: list[Any] = [loads(answer.text, numbers="any")] if answer is not None else []
    for place in left:
        if isinstance(place, Mapping):
            for name in _FINISH:
                if name in place:
                    return place[name]
        parts = place.values() if isinstance(place, Mapping) else place
        left += [part for part in parts if isinstance(part, Mapping | list)][: _PLACES - len(left)]
    return otherwise


def _is_ours(error: Exception | None) -> bool:
    """Whether litellm reports as a server's what happened here, before anything was sent."""
    if "credentials" in str(error).casefold():
        return True
    return type(error).__name__ == "APIConnectionError"


def _named(error: BaseException | None, *names: str) -> bool:
    """Whether the error or one below it is of a class of this name.

    Litellm and each client have their own.
    """
    return any(base.__name__ in names for each in _chain(error) for base in type(each).__mro__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


@lru_cache(1)
def _import() -> Any:
    """Import litellm quietly: no price list from the network, no telemetry, no prints.

    Its clients send through our wire.
    """
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    from cbt_ray.llm.wire import Wire, session

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.num_retries = 0
    litellm.sync_transport = Wire()
    litellm.client_session = session()
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    # Of answers in a form that it does not expect; they are read here.
    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
    return litellm
