"""What a server's answer that is no reply means: one table of status, headers and body, whoever
made the call.

The user must act first, the world was at fault, or the model cannot answer this text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from cbt_ray.errors import Infrastructure, InputError, KeyRefused, ModelFailure
from cbt_ray.llm.exchange import Answer, Unanswered
from cbt_ray.reading import loads

_LONGEST = 300


def _words(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_FILTERED = _words(
    r"content_?filter",
    r"content_policy",
    r"data_?inspection_?failed",
    r"ResponsibleAIPolicyViolation",
    r"content exists risk",
    r"inappropriate content",
    r"(?:input|prompt|content|message|text)s? (?:was|were|is|are|has been|have been) "
    r"(?:flagged|blocked|filtered|rejected by)",
    r"requires moderation",
    r"content[ _](?:filter|management|moderation|safety)",
    r"content policy",
    r"\bflagged\b",
    r"usage (?:policy|guidelines)",
    r"ContentPolicyViolation",
    r"sensitive (?:content|information|words?)",
    r"safety (?:filter|system|policy|settings|reasons)",
    r"prohibited[ _]content",
    r"不安全|敏感内容|违规",
)
"""OpenAI, Azure, DeepSeek, DashScope, OpenRouter, Anthropic, Gemini, xAI, Zhipu. "Request was
blocked" is a firewall's."""
_CONTEXT = _words(
    r"context_length_exceeded",
    r"exceed_context_size",
    r"string_above_max_length",
    r"maximum (?:context|model|prompt|input|sequence|allowed) ?(?:token |sequence "
    r")?(?:length|limit|size)",
    r"max(?:imum)?[ _](?:model|context|input|seq\w*)[ _]len(?:gth)?",
    r"context (?:length|size|window|limit)",
    r"(?:prompt|input|request|conversation|messages?) (?:is|are|was) too (?:long|large)",
    r"too many (?:input |prompt )?tokens",
    r"(?:exceeds?|overflows?|longer than|larger than|not enough|too large "
    r"for)\b[^.]{0,60}\bcontext",
    r"context the overflows",
    r"context shift is disabled|ContextWindowExceeded",
    r"range of input length",
    r"reduce the length",
    r"input (?:token count|length)\b.{0,60}(?:exceed|maximum)",
    r"`inputs` tokens",
    r"request entity too large|payload too large|content too large",
)
"""OpenAI, vLLM, SGLang, TGI, llama-server, llama-cpp-python, LM Studio, Ollama, Anthropic, Gemini,
Mistral, Groq."""
_PAYMENT_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_credits",
        "insufficient_balance",
        "insufficient_user_quota",
        "arrearage",
        "payment_required",
        "budget_exceeded",
        "exceeded_current_quota_error",
        "allocationquota.freetieronly",
    }
)
_RATE_CODES = frozenset(
    {"rate_limit_exceeded", "ratelimitreached", "rate_limit_error", "requests", "tokens"}
)
"""With one of these, talk of billing is an advertisement."""
_PAYMENT = _words(
    r"insufficient (?:account )?(?:quota|balance|credits?|funds)",
    r"(?:exceeded|exhausted) your (?:current |monthly )?(?:quota|credits?|balance)",
    r"credit balance is too low",
    r"(?:out of|not enough|no|more|any) credits",
    r"\bbilling\b",
    r"arrearage|overdue[- ]payment|in good standing",
    r"(?:spending|usage|spend) limit",
    r"payment required",
    r"余额不足|欠费",
)
_USELESS = {
    "cut": _words(r"max_tokens or model output limit was reached"),
    "malformed": _words(r"\bjson_validate_failed\b", r"\btool_use_failed\b"),
}
"""What the model wrote is of no use, and the server says so instead of sending it: OpenAI, Groq."""
_TOO_LARGE_A_MINUTE = _words(r"request too large.{0,200}tokens per min")
_RUNNER = _words(
    r"model (?:was |has been |has )?(?:unloaded|crashed)",
    r"out of memory",
    r"request failed during generation",
)
"""A server's own trouble under a status that blames the request: LM Studio, TGI."""
_TEMPLATE = _words(
    r"roles? (?:must|should|have to) (?:be )?alternat",
    r"only user(?:,| and| or) (?:and )?(?:assistant|model)\b.*\broles? (?:are|is)",
    r"system (?:role|message|prompt)s? (?:is |are )?(?:not|un)[ -]?supported",
    r"(?:does not|doesn't) support (?:the )?(?:system|developer) "
    r"(?:role|message|instruction|prompt)",
    r"developer instruction is not enabled",
    r"(?:unexpected|unsupported|invalid|unknown) (?:message )?role",
    r"raise_exception",
    r"jinja",
    r"chat[ _]template",
    r"first message must be",
    r"expected last role",
)
_NUMBER = r"(\d{1,6}(?:\.\d{1,9})?) ?"
_WAIT = re.compile(
    rf"(?:try again|retry) (?:in|after) (?:{_NUMBER}h(?:ours?)?,? ?)?(?:{_NUMBER}m(?:in\w*)?,? "
    r"?(?![a-z]))?"
    rf"(?:{_NUMBER}(ms|milliseconds|s|sec\w*)\b)?",
    re.IGNORECASE,
)
_DELAY = re.compile(r'"retryDelay"\s*:\s*"(\d{1,6}(?:\.\d{1,9})?)s"')
_THE_WORLDS = frozenset({408, 409, 423, 424, 425, 429})
"""Of 400 to 497, these pass: a time-out, a conflict with another call, locked, a failed dependency,
too early, too many."""
_LINK = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Where:
    """Whose answer it is, for messages; the key is there to be blotted out."""

    endpoint: str
    model: str
    key: str | None = None
    ours: bool = False
    """Whether `cbt-ray serve` starts the server, which knows its models by their keys."""

    def said(self, text: str) -> str:
        """What was said, on one line, without the key and without what a terminal would obey."""
        text = "".join(one if one.isprintable() else " " for one in text[: 100 * _LONGEST])
        text = " ".join(text.split())
        if self.key:
            text = text.replace(self.key, "***")
        return text[:_LONGEST]

    def world(self, text: str, kind: str, retry_after: float | None = None) -> Infrastructure:
        """A fault of the world."""
        said = f"endpoints.{self.endpoint}: {self.model}: {self.said(text)}"
        return Infrastructure(said, kind, retry_after)

    def lost(self, lost: Unanswered) -> Infrastructure:
        """A fault of the world: no answer came."""
        fault = self.world(str(lost), lost.kind)
        fault.sent = lost.sent
        return fault


@dataclass(frozen=True)
class Complaint:
    """What a server complains of: its words for people, and all its words, codes and types for the
    table.
    """

    message: str
    all: str
    codes: frozenset[str] = frozenset()
    status: int | None = None
    """A status that stands in the body, as of a gateway that answers 200."""
    structured: bool = False
    """An API's own complaint, and not a page of whatever stands before it."""

    @classmethod
    def of(cls, text: str) -> Complaint:
        """Read from a body, which may be JSON of any shape, HTML or nothing."""
        try:
            document = loads(text)
        except ValueError:
            plain = re.sub(r"<[^<>]{0,500}>", " ", text[: 10 * _LONGEST])
            return cls(plain, plain)
        if isinstance(document, list) and document:
            document = document[0]
        error = document.get("error") or document if isinstance(document, Mapping) else document
        return cls.from_json(error)

    @classmethod
    def from_json(cls, error: Any) -> Complaint:
        """Read from an `error` of any shape."""
        whole = _flat(error)
        if not isinstance(error, Mapping):
            return cls(whole, whole, structured=True)
        inner = error.get("innererror")
        parts = [error, inner] if isinstance(inner, Mapping) else [error]
        named = [part.get(name) for part in parts for name in ("code", "type", "status")]
        message = next(
            (error[name] for name in ("message", "msg", "detail") if error.get(name)), ""
        )
        codes = frozenset(name.casefold() for name in named if isinstance(name, str))
        statuses = [int(code) for code in map(_flat, named) if re.fullmatch(r"[345]\d\d", code)]
        said = _flat(message) or whole
        return cls(said, whole, codes, statuses[0] if statuses else None, structured=True)


def _flat(value: Any) -> str:
    """The names and values of a document of any depth, in their order, as words."""
    words, left, size = list[str](), [value], 0
    while left and size < 20 * _LONGEST:
        part = left.pop()
        if isinstance(part, Mapping):
            left += [each for pair in reversed(list(part.items())) for each in reversed(pair)]
        elif isinstance(part, list):
            left += reversed(part)
        elif part is not None:
            words.append(str(part))
            size += len(words[-1]) + 1
    return " ".join(words)


@dataclass(frozen=True)
class Fault:
    """An answer that is no reply, and what it means; `now` dates a `Retry-After`."""

    answer: Answer
    complaint: Complaint
    where: Where
    now: datetime

    @property
    def is_refusal(self) -> bool:
        """A content filter refused the text: an answer of the model's, not a fault."""
        if not self.complaint.structured or self._status not in (200, 400, 403, 422, 451):
            return False
        return bool(_FILTERED.search(self.complaint.all))

    def as_ours(self) -> Exception:
        """The error to raise."""
        where, status = self.where, self._status
        for reason, words in _USELESS.items():
            if status in (200, 400, 422) and words.search(self.complaint.all):
                return ModelFailure(
                    reason, f"endpoints.{where.endpoint}: {where.model}: {self._said}"
                )
        if self._is_context_full:
            said = f"endpoints.{where.endpoint}: {where.model}: {self._said}"
            return ModelFailure("context_full", said)
        for_the_user = self._for_the_user()
        if for_the_user is not None:
            return for_the_user
        kind = {429: "rate_limit", 408: "timeout"}.get(status, "server")
        return where.world(self._said or f"status {status}", kind, self._pause)

    def _for_the_user(self) -> InputError | None:
        """What no repeated call mends."""
        said, status, name = self._said, self._status, f"endpoints.{self.where.endpoint}"
        model = self.where.model
        if 300 <= self.answer.status < 400:
            to = self.where.said(self.answer.headers.get("location", "nowhere"))
            expected = (
                "expected the server itself; a redirect is not followed, since the key "
                "would go along"
            )
            return InputError(f"{name}.api_base: {expected} ({status} to {to})")
        if self._is_too_large_a_minute or self._wants_payment:
            account = (
                "whose tokens per minute hold one request"
                if self._is_too_large_a_minute
                else "with quota or credit left"
            )
            return InputError(f"{name}.api_key_env: expected an account {account} ({said})")
        if self._is_worded and _TEMPLATE.search(self.complaint.all):
            remedy = "`system: first_user` joins the system prompt to the first message"
            expected = f"expected messages that the chat template of {model} takes"
            return InputError(f"{name}.system: {expected} ({said}); {remedy}")
        if status in (401, 403):
            return KeyRefused(
                f"{name}.api_key_env: expected a key that the endpoint accepts ({said})"
            )
        its_own = bool(_RUNNER.search(self.complaint.all))
        if 400 <= status < 498 and status not in _THE_WORLDS and not its_own:
            field, expected = "model", f"a call that {model} accepts"
            if status == 404 and self.where.ours:
                field, expected = "api_base", f"a server that has {model}, as `serve` starts it"
            return InputError(f"{name}.{field}: expected {expected} ({said})")
        return None

    @property
    def _status(self) -> int:
        """The answer's status, or that in its body where a gateway answers 200."""
        return (self.complaint.status or 200) if self.answer.status < 300 else self.answer.status

    @property
    def _said(self) -> str:
        status, message = self._status, self.complaint.message
        return self.where.said(f"{status}: {message}" if status >= 300 else message)

    @property
    def _pause(self) -> float | None:
        return retry_after(self.answer, self.now)

    @property
    def _is_worded(self) -> bool:
        """Whether only the words tell what it is: some servers call the user's mistake their
        own.
        """
        return self._status in (200, 400, 422) or self._status >= 500

    @property
    def _is_too_large_a_minute(self) -> bool:
        """No wait helps a request that is larger than a minute's share.

        The model's context has nothing to do with it.
        """
        return self._status in (413, 429) and bool(_TOO_LARGE_A_MINUTE.search(self.complaint.all))

    @property
    def _is_context_full(self) -> bool:
        if self._is_too_large_a_minute:
            return False
        too_long = self._is_worded and bool(_CONTEXT.search(self.complaint.all))
        return self._status == 413 or too_long

    @property
    def _wants_payment(self) -> bool:
        """Gemini words a limit a minute like a spent quota, but says when to come back."""
        if self._status == 402 or self.complaint.codes & _PAYMENT_CODES:
            return True
        if self.complaint.codes & _RATE_CODES or self._pause is not None:
            return False
        worded = self._status in (200, 400, 403, 412, 429)
        return worded and bool(_PAYMENT.search(_LINK.sub(" ", self.complaint.all)))


def retry_after(answer: Answer, now: datetime) -> float | None:
    """Seconds that a server asks for: `retry-after-ms`, `Retry-After` in seconds or as a date, or
    its words.
    """
    milliseconds = _seconds(answer.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = answer.headers.get("retry-after", "")
    seconds = _seconds(asked)
    if seconds is None:
        seconds = _until(asked, now)
    if seconds is None and answer.status in (429, 503):
        seconds = _worded(answer.text[:20_000])
    return seconds


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _until(date: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _worded(text: str) -> float | None:
    delay = _DELAY.search(text)
    if delay:
        return float(delay[1])
    wait = _WAIT.search(text)
    if wait is None or not any(wait.groups()):
        return None
    hours, minutes, rest = (float(number or 0) for number in wait.group(1, 2, 3))
    return (
        3600 * hours
        + 60 * minutes
        + rest / (1000 if (wait[4] or "").lower().startswith("m") else 1)
    )
