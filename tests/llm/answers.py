"""What model servers answer, and what each answer is: a reply, a useless one, a fault of the world,
a matter for the user.

Copied in form from the servers that are named; SECRET marks words that nobody may take for a reply.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.llm.faulty_server import SLOW, Behaviour

SECRET = "SECRET"
DATE = "Wed, 21 Oct 2015 07:29:30 GMT"
"""90 s after NOW of the tests."""
ROOMS = 3000
"""Lists within lists."""


@dataclass(frozen=True)
class Said:
    """A whole reply, or one at the token limit."""

    text: str
    reasoning: str = ""
    at_limit: bool = False


@dataclass(frozen=True)
class Useless:
    """An answer that is asked for again, with this reason."""

    reason: str


@dataclass(frozen=True)
class World:
    """A fault of the world of this kind."""

    kind: str
    pause: float | None = None


@dataclass(frozen=True)
class User:
    """A matter for the user: the error names this field of the endpoint."""

    field: str
    says: str = ""


Expected = Said | Useless | World | User


def body(content: Any = f"Half {SECRET}", finish: Any = "stop", **fields: Any) -> bytes:
    """A completion; `fields` of its message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **fields}}
    return completion([{**choice, "finish_reason": finish}])


def completion(choices: Any, **fields: Any) -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    whole = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
    }
    return json.dumps({**whole, "usage": usage, **fields}).encode()


def ok(content: Any = f"Half {SECRET}", finish: Any = "stop", **fields: Any) -> Behaviour:
    return Behaviour(raw=body(content, finish, **fields))


def whole(usage: Any) -> Behaviour:
    message = {"role": "assistant", "content": "A full answer."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Behaviour(raw=completion([choice], usage=usage))


def error(
    status: int, said: Any, headers: Mapping[str, str] | None = None, **fields: Any
) -> Behaviour:
    """An error in OpenAI's form."""
    document = {"error": {"message": said, **fields} if isinstance(said, str) else said}
    return Behaviour(status=status, headers=headers or {}, raw=json.dumps(document).encode())


def page(status: int, title: str) -> Behaviour:
    raw = f"<html><head><title>{title}</title></head></html>".encode()
    return Behaviour(status=status, headers={"Content-Type": "text/html"}, raw=raw)


THOUGHT = f"The patient is sad ({SECRET})."
HARMONY = (
    f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Hello."
)
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
REPLIES: dict[str, tuple[Behaviour, Expected]] = {
    # ---- whole replies, and how they end ----
    "stop": (ok("All is well."), Said("All is well.")),
    "end_turn": (ok("All is well.", "end_turn"), Said("All is well.")),
    "eos": (ok("All is well.", "eos"), Said("All is well.")),
    "upper_case": (ok("All is well.", "STOP"), Said("All is well.")),
    "content_parts": (ok([{"type": "text", "text": "In parts."}]), Said("In parts.")),
    "thinking_parts": (
        ok(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                {"type": "text", "text": "Hello."},
            ]
        ),
        Said("Hello.", THOUGHT),
    ),
    "surrogate": (ok("Well done \ud83d"), Said("Well done \ufffd")),
    "broken_utf8": (
        Behaviour(raw=body("Well done @").replace(b"@", b"\xf0\x9f")),
        Said("Well done \ufffd"),
    ),
    "length": (ok("So far.", "length"), Said("So far.", at_limit=True)),
    "max_tokens": (ok("So far.", "max_tokens"), Said("So far.", at_limit=True)),
    "model_length": (ok("So far.", "model_length"), Said("So far.", at_limit=True)),
    "error_null": (
        Behaviour(raw=body("All is well.")[:-1] + b', "error": null}'),
        Said("All is well."),
    ),
    "finish_sglang": (ok("All is well.", {"type": "stop", "matched": 2}), Said("All is well.")),
    "finish_enum": (ok("All is well.", "FinishReason.STOP"), Said("All is well.")),
    "no_numbers": (
        Behaviour(
            raw=body("All is well.")[:-1]
            + b', "timings": {"a": NaN, "b": -Infinity, "c": '
            + b"9" * 5000
            + b"}}"
        ),
        Said("All is well."),
    ),
    "output_text_parts": (
        ok([{"type": "reasoning", "text": THOUGHT}, {"type": "output_text", "text": "Hello."}]),
        Said("Hello.", THOUGHT),
    ),
    "thought_parts": (
        ok(
            [{"type": "text", "text": THOUGHT, "thought": True}, {"type": "text", "text": "Hello."}]
        ),
        Said("Hello.", THOUGHT),
    ),
    "tool_parts": (
        ok([{"type": "text", "text": "Hello."}, {"type": "tool_use", "content": THOUGHT}]),
        Said("Hello.", THOUGHT),
    ),
    # ---- hidden reasoning ----
    "think": (ok(f"<think>\n{THOUGHT}\n</think>\n\nHello."), Said("Hello.", THOUGHT)),
    "think_without_opening": (ok(f"{THOUGHT}\n</think>\n\nHello."), Said("Hello.", THOUGHT)),
    "think_cut": (ok(f"<think>\n{THOUGHT}", "length"), Useless("cut")),
    "think_never_closed": (ok(f"<think>\n{THOUGHT}"), Useless("cut")),
    "think_and_nothing": (ok(f"<think>{THOUGHT}</think>"), Useless("empty")),
    "magistral": (ok(f"[THINK]{THOUGHT}[/THINK]Hello."), Said("Hello.", THOUGHT)),
    "begin_of_thought": (
        ok(
            f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n"
            "<|begin_of_solution|>Hello.<|end_of_solution|>"
        ),
        Said("Hello.", THOUGHT),
    ),
    "channels": (
        ok(HARMONY),
        Said("Hello.", f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"),
    ),
    "channels_cut": (ok(HARMONY[:40], "length"), Useless("cut")),
    "granite": (
        ok(f"Here is my thought process: {THOUGHT}\n\nHere is my response: Hello."),
        Said("Hello.", THOUGHT),
    ),
    "granite_cut": (ok(f"Here's my thought process:\n{THOUGHT}", "length"), Useless("cut")),
    "reasoning_took_all_openai": (
        error(
            400,
            "Could not finish the message because max_tokens or model output limit was reached.",
        ),
        Useless("cut"),
    ),
    "channels_without_marks": (
        ok(f"analysis{THOUGHT}assistantfinalHello."),
        Said("Hello.", THOUGHT),
    ),
    "reasoning_content": (ok("Hello.", reasoning_content=THOUGHT), Said("Hello.", THOUGHT)),
    "reasoning": (ok("Hello.", reasoning=THOUGHT), Said("Hello.", THOUGHT)),
    "reasoning_at_length": (ok(None, "length", reasoning_content=THOUGHT), Useless("cut")),
    # ---- useless answers ----
    "empty": (ok(""), Useless("empty")),
    "content_null": (ok(None), Useless("empty")),
    "content_number": (ok(5), Useless("empty")),
    "content_nested": (
        Behaviour(raw=body("@").replace(b'"@"', b"[" * 400 + b"]" * 400)),
        Useless("empty"),
    ),
    "tool_call": (ok(None, "tool_calls", tool_calls=[{"id": "1"}]), Useless("empty")),
    "repetition": (ok(finish="repetition"), Useless("cut")),
    "refusal": (ok(None, refusal="I cannot help with that."), Useless("refused")),
    "content_filter": (ok(finish="content_filter"), Useless("refused")),
    "filter_openai": (error(400, "no", code="content_policy_violation"), Useless("refused")),
    "filter_azure": (
        error(
            400,
            "The response was filtered",
            code="content_filter",
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
        Useless("refused"),
    ),
    "filter_deepseek": (
        error(400, "Content Exists Risk", code="invalid_request_error"),
        Useless("refused"),
    ),
    "filter_dashscope": (
        error(400, "Input data may contain inappropriate content.", code="data_inspection_failed"),
        Useless("refused"),
    ),
    "filter_openrouter": (
        error(
            403,
            "Input was flagged",
            code=403,
            metadata={"reasons": ["self-harm"], "flagged_input": "..."},
        ),
        Useless("refused"),
    ),
    "filter_in_200": (
        error(200, "Output blocked by content filtering policy", code=400),
        Useless("refused"),
    ),
    "filter_proxy": (
        error(400, "litellm.ContentPolicyViolationError: AzureException - no"),
        Useless("refused"),
    ),
    "filter_zhipu": (
        error(400, "系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301"),
        Useless("refused"),
    ),
    "filter_xai": (
        error(403, "Content violates usage guidelines. Failed check: SAFETY_CHECK"),
        Useless("refused"),
    ),
    "no_json_groq": (
        error(400, "Failed to generate JSON.", code="json_validate_failed"),
        Useless("malformed"),
    ),
    # ---- the context is full ----
    "full_openai": (
        error(400, "too long", code="context_length_exceeded"),
        Useless("context_full"),
    ),
    "full_vllm": (
        error(
            400,
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            code=400,
        ),
        Useless("context_full"),
    ),
    "full_vllm_tokens": (
        error(
            400,
            "This model's maximum context length is 4096 tokens and your request has 5000 input "
            "tokens.",
        ),
        Useless("context_full"),
    ),
    "full_lm_studio": (
        error(
            400,
            "Trying to keep the first 5000 tokens when context the overflows. However, the model "
            "is loaded with "
            "context length of only 4096 tokens, which is not enough.",
        ),
        Useless("context_full"),
    ),
    "full_anthropic": (
        error(
            400, "prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"
        ),
        Useless("context_full"),
    ),
    "full_llama_server": (
        error(
            400,
            "the request exceeds the available context size, try increasing it",
            code=400,
            type="exceed_context_size_error",
        ),
        Useless("context_full"),
    ),
    "full_tgi": (
        error(422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048."),
        Useless("context_full"),
    ),
    "full_in_200": (error(200, "Context size has been exceeded."), Useless("context_full")),
    "full_dashscope": (
        error(400, "Range of input length should be [1, 30720]"),
        Useless("context_full"),
    ),
    "full_proxy": (
        error(400, "litellm.ContextWindowExceededError: OpenAIException - no"),
        Useless("context_full"),
    ),
    "too_large": (page(413, "413 Request Entity Too Large"), Useless("context_full")),
    # ---- faults of the world ----
    "system_resource": (ok(finish="insufficient_system_resource"), World("unfinished")),
    "abort": (ok(finish="abort"), World("unfinished")),
    "finish_error": (ok(finish="error"), World("unfinished")),
    "finish_null": (ok(finish=None), World("unfinished")),
    "finish_unknown": (ok(finish="half_way"), World("unfinished")),
    "finish_number": (ok(finish=3), World("unfinished")),
    "error_in_200": (error(200, "Provider returned error", code=502), World("server")),
    "error_in_200_plain": (error(200, f"{SECRET} words"), World("server")),
    "error_text_in_200": (Behaviour(raw=b'{"error": "the GPU fell off the bus"}'), World("server")),
    "rate_in_200": (error(200, "slow down", code=429), World("rate_limit")),
    "error_in_choice": (
        Behaviour(
            raw=completion(
                [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": ""},
                        "finish_reason": "error",
                        "error": {"code": 502, "message": "Provider returned error"},
                    }
                ]
            )
        ),
        World("server"),
    ),
    "no_choices": (Behaviour(raw=completion([])), World("malformed")),
    "choices_null": (Behaviour(raw=completion(None)), World("malformed")),
    "choices_text": (Behaviour(raw=completion(SECRET)), World("malformed")),
    "message_text": (
        Behaviour(raw=completion([{"message": SECRET, "finish_reason": "stop"}])),
        World("malformed"),
    ),
    "no_body": (Behaviour(raw=b""), World("malformed")),
    "null": (Behaviour(raw=b"null"), World("malformed")),
    "a_list": (Behaviour(raw=b"[1]"), World("malformed")),
    "page_in_200": (page(200, f"Welcome {SECRET}"), World("malformed")),
    "nested_body": (Behaviour(raw=b"[" * ROOMS), World("malformed")),
    "half_a_body": (Behaviour(raw=body()[:-9]), World("malformed")),
    "bomb": (
        Behaviour(
            headers={"Content-Encoding": "gzip"}, raw=gzip.compress(body("0" * (32 << 20)), 1)
        ),
        World("malformed"),
    ),
    "gzip_cut": (
        Behaviour(headers={"Content-Encoding": "gzip"}, raw=gzip.compress(body())[:-9]),
        World("connection"),
    ),
    "unknown_encoding": (
        Behaviour(headers={"Content-Encoding": "br"}, raw=b"abc"),
        World("malformed"),
    ),
    "cut_in_transit": (Behaviour(cut=True, raw=body()), World("connection")),
    "hangs_up": (Behaviour(hangs_up=True), World("connection")),
    "slow": (SLOW, World("timeout")),
    "drips_headers": (Behaviour(drips="headers"), World("timeout")),
    "drips_body": (Behaviour(drips="body"), World("timeout")),
    "rate_limit": (error(429, "slow down", {"Retry-After": "7"}), World("rate_limit", 7.0)),
    "rate_limit_date": (error(429, "slow down", {"Retry-After": DATE}), World("rate_limit", 90.0)),
    "rate_limit_ms": (
        error(429, "slow down", {"retry-after-ms": "90000"}),
        World("rate_limit", 90.0),
    ),
    "rate_limit_endless": (error(429, "slow down", {"Retry-After": "1e999"}), World("rate_limit")),
    "rate_limit_gemini": (
        error(
            429,
            "You exceeded your current quota, please check your plan and billing details. Please "
            "retry in 34.5s.",
        ),
        World("rate_limit", 34.5),
    ),
    "overloaded": (page(529, "overloaded"), World("server")),
    "rate_limit_advertises": (
        error(
            429,
            "Rate limit reached for requests. You can add a payment method at "
            "https://platform.openai.com/account/billing.",
            code="rate_limit_exceeded",
        ),
        World("rate_limit"),
    ),
    "rate_limit_minutes": (
        error(
            429, "Please try again in 1m2.5s. Need more? https://console.groq.com/settings/billing"
        ),
        World("rate_limit", 62.5),
    ),
    "rate_limit_two_minutes": (
        error(429, "Please try again in 2 minutes."),
        World("rate_limit", 120.0),
    ),
    "failed_dependency_tgi": (
        error(424, "Request failed during generation: CUDA out of memory"),
        World("server"),
    ),
    "unloaded_lm_studio": (
        Behaviour(status=400, raw=b'{"error": "Model unloaded."}'),
        World("server"),
    ),
    "bad_gateway": (page(502, "Bad Gateway"), World("server")),
    "unavailable": (error(503, "loading model", {"Retry-After": "3"}), World("server", 3.0)),
    "request_timeout": (page(408, "Request Timeout"), World("timeout")),
    # ---- matters for the user ----
    "quota": (
        error(
            429,
            "You exceeded your current quota",
            type="insufficient_quota",
            code="insufficient_quota",
        ),
        User("api_key_env", "quota"),
    ),
    "payment": (error(402, "Insufficient credits"), User("api_key_env", "credit")),
    "credit_anthropic": (
        error(400, "Your credit balance is too low to access the API."),
        User("api_key_env", "credit"),
    ),
    "balance_deepseek": (
        error(402, "Insufficient Balance", code="invalid_request_error"),
        User("api_key_env", "credit"),
    ),
    "budget_proxy": (
        error(400, "Budget has been exceeded!", type="budget_exceeded"),
        User("api_key_env", "credit"),
    ),
    "balance_zhipu": (
        error(429, "余额不足或无可用资源包,请充值。", code="1113"),
        User("api_key_env", "credit"),
    ),
    "free_tier_dashscope": (
        error(
            403,
            "The free tier of the model has been exhausted.",
            code="AllocationQuota.FreeTierOnly",
        ),
        User("api_key_env", "credit"),
    ),
    "suspended_fireworks": (
        error(412, "Account suspended: monthly spending limit"),
        User("api_key_env", "credit"),
    ),
    "too_large_a_minute": (
        error(
            413,
            "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested "
            "7000",
        ),
        User("api_key_env", "per minute"),
    ),
    "arrears_dashscope": (
        error(
            400,
            "Access denied, please make sure your account is in good standing.",
            code="Arrearage",
        ),
        User("api_key_env", "credit"),
    ),
    "unauthorized": (error(401, "no such key"), User("api_key_env", "401")),
    "forbidden": (error(403, "not yours"), User("api_key_env", "403")),
    "unauthorized_in_200": (error(200, "no such key", code=401), User("api_key_env", "401")),
    "firewall": (page(403, "Access blocked by content filter"), User("api_key_env", "403")),
    "no_such_model": (error(404, "The model does not exist"), User("model", "404")),
    "unprocessable": (error(422, "seed: must be an integer"), User("model", "422")),
    "roles_alternate": (
        error(400, ALTERNATE, type="BadRequestError", code=400),
        User("system", "template"),
    ),
    "roles_alternate_500": (
        error(500, f"Jinja Exception: {ALTERNATE}"),
        User("system", "first_user"),
    ),
    "no_system": (error(400, "System role not supported"), User("system", "first_user")),
    "redirect": (
        Behaviour(status=308, headers={"Location": "http://elsewhere.example/v1"}, raw=b""),
        User("api_base", "elsewhere"),
    ),
    "terminal_codes": (error(400, "\x1b[2J\x07 no \x9b"), User("model", "(400: [2J no)")),
    "moved": (
        Behaviour(status=302, headers={"Location": "/login"}, raw=b""),
        User("api_base", "/login"),
    ),
    # ---- counts that are none ----
    "negative_usage": (
        whole({"prompt_tokens": -900, "completion_tokens": -5}),
        Said("A full answer."),
    ),
    "absurd_usage": (
        whole({"prompt_tokens": 10**30, "completion_tokens": "5"}),
        Said("A full answer."),
    ),
    "usage_list": (whole([1, 2]), Said("A full answer.")),
    "usage_null": (whole(None), Said("A full answer.")),
}


def claude(reason: str | None) -> Behaviour:
    said = [{"type": "text", "text": "So far."}]
    usage = {"input_tokens": 10, "output_tokens": 5}
    document = {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": said}
    return Behaviour(raw=json.dumps({**document, "stop_reason": reason, "usage": usage}).encode())


def gemini(reason: str) -> Behaviour:
    content = {"role": "model", "parts": [{"text": "So far."}]}
    candidates = [{"content": content, "finishReason": reason, "index": 0}]
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return Behaviour(raw=json.dumps({"candidates": candidates, "usageMetadata": usage}).encode())


CLAUDE, GEMINI = "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"
OTHER_FORMS: list[tuple[str, Behaviour, Expected]] = [
    (CLAUDE, claude("end_turn"), Said("So far.")),
    (CLAUDE, claude("max_tokens"), Said("So far.", at_limit=True)),
    (CLAUDE, claude("model_context_window_exceeded"), Said("So far.", at_limit=True)),
    (CLAUDE, claude("refusal"), Useless("refused")),
    (CLAUDE, claude("pause_turn"), World("unfinished")),
    (CLAUDE, claude(None), World("unfinished")),
    (CLAUDE, error(529, "Overloaded", type="overloaded_error"), World("server")),
    (
        CLAUDE,
        error(400, "prompt is too long: 210000 tokens > 200000 maximum"),
        Useless("context_full"),
    ),
    (GEMINI, gemini("STOP"), Said("So far.")),
    (GEMINI, gemini("MAX_TOKENS"), Said("So far.", at_limit=True)),
    (GEMINI, gemini("SAFETY"), Useless("refused")),
    (GEMINI, gemini("MALFORMED_FUNCTION_CALL"), Useless("cut")),
    (GEMINI, gemini("NEW_REASON"), World("unfinished")),
    ("deepseek/m", ok(finish="insufficient_system_resource"), World("unfinished")),
    ("openrouter/x/m", ok(finish="error"), World("unfinished")),
    ("mistral/m", ok("So far.", finish="model_length"), Said("So far.", at_limit=True)),
]
"""Answers in the forms of providers, to litellm's names for them."""
