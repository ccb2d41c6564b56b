"""What litellm's exceptions mean here: the user must act, the world was at fault, or the model cannot answer this.

litellm reports cut connections and garbage as status 500 like a server's own error; the cause below tells them apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cbt_ray.errors import Infrastructure, InputError, KeyRefused, ModelFailure

_LONGEST = 300
_CLASS_NAMES = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Timeout)(?: Error)?: )*(?:\w+(?:Exception|Error) - )?(?:litellm\.)?")
"""litellm heads each message with the names of its classes, up to four of them."""


@dataclass(frozen=True)
class Fault:
    """An exception of litellm's with what its message needs; the key is there to be blotted out."""

    endpoint: str
    model: str
    key: str | None
    error: Exception

    @property
    def is_refusal(self) -> bool:
        """The provider's content filter refused: an answer of the model's, not a fault."""
        return self._named("ContentPolicyViolationError") or self._coded("content_policy_violation", "content_filter")

    def as_ours(self) -> Exception:
        """The error to raise."""
        if self._named("ContextWindowExceededError") or self._coded("context_length_exceeded"):
            return ModelFailure("context_full", self._text())
        kind = self._kind()
        if kind is not None:
            return Infrastructure(self._text(), kind, self._retry_after())
        status = self._status()
        where = f"endpoints.{self.endpoint}"
        if status in (401, 403):
            return KeyRefused(f"{where}.api_key_env: expected a key that the endpoint accepts ({status}: {self._said()})")
        return InputError(f"{where}.model: expected a call that {self.model} accepts ({status or 'no status'}: {self._said()})")

    def _kind(self) -> str | None:
        """The kind of a fault of the world; None where the user must act."""
        status = self._status()
        if status == 429:
            return "rate_limit"
        if status == 408 or self._named("Timeout", "APITimeoutError", "TimeoutException"):
            return "timeout"
        if status is not None and 400 <= status < 500 and status not in (409, 425):
            return None
        if "Missing credentials" in str(self.error):  # litellm reports it as a server's error, though nothing was sent
            return None
        return "server" if self._answered() else self._unanswered_kind()

    def _unanswered_kind(self) -> str:
        if self._named("APIConnectionError", "TransportError") or "Connection error" in str(self.error):
            return "connection"
        if any(isinstance(error, json.JSONDecodeError) for error in self._chain()) or "response" in str(self.error).lower():
            return "malformed"
        return "server"

    def _status(self) -> int | None:
        status = getattr(self.error, "status_code", None)
        return status if isinstance(status, int) else None

    def _answered(self) -> bool:
        """A server sent this status itself: only then are there headers."""
        return bool(getattr(self.error, "litellm_response_headers", None))

    def _retry_after(self) -> float | None:
        headers = getattr(self.error, "litellm_response_headers", None) or {}
        try:
            return max(0.0, float(headers.get("retry-after") or ""))
        except ValueError:  # none, or a date: back off as without it
            return None

    def _chain(self) -> Iterator[BaseException]:
        error: BaseException | None = self.error
        for _ in range(10):
            if error is None:
                return
            yield error
            error = error.__cause__ or error.__context__

    def _named(self, *names: str) -> bool:
        """Whether the error or one below it is of a class of this name; litellm, openai and httpx each have their own."""
        return any(base.__name__ in names for error in self._chain() for base in type(error).__mro__)

    def _coded(self, *codes: str) -> bool:
        """Whether the server gave one of these codes; litellm looks for phrases in the message alone."""
        return any(getattr(error, "code", None) in codes for error in self._chain())

    def _text(self) -> str:
        return f"endpoints.{self.endpoint}: {self.model}: {self._said()}"

    def _said(self) -> str:
        """What the server said, on one line, without the key."""
        text = _CLASS_NAMES.sub("", " ".join(str(self.error).split()))
        if self.key:
            text = text.replace(self.key, "***")
        return text[:_LONGEST]
