"""What is asked of a language model, what comes back, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from cbt_ray.count import many
from cbt_ray.llm.reasoning import parted
from cbt_ray.study.endpoint import Sampling


@dataclass(frozen=True)
class Message:
    """One message of a conversation with a model."""

    role: Literal["system", "user", "assistant"]
    content: str

    def to_json(self) -> dict[str, str]:
        """As chat templates and chat APIs take it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Request:
    """One call: system message first, then user and assistant in turn, a user message last.

    `schema` is a JSON schema that the reply must follow; endpoints that can be held to it are.
    Prefixes are stable: a conversation's next request begins with the messages of the last one, so
    caches of its prefix serve.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    schema: Mapping[str, Any] | None = None
    told: bool = True
    """Whether the schema is written in words where the endpoint cannot be held to it: not to a
    therapist, whose prompt is the same everywhere.
    """


class Finish(StrEnum):
    """Why a reply ended."""

    STOP = "stop"
    LENGTH = "length"
    """At the token limit: its whole sentences may serve."""
    CUT = "cut"
    """Before its end, within its reasoning or for a reason of the server's: nothing in it serves.
    """
    REFUSED = "refused"


@dataclass(frozen=True)
class Reply:
    """One answer.

    Tokens are counts as the endpoint reports them; `cost` is in dollars, None where no price is
    known.

    Whatever makes a reply, what the model only thought is taken out of `text` here and kept in
    `reasoning`: it is never sent on. Half a surrogate pair, which no file and no server takes, is
    replaced.
    """

    text: str
    finish: Finish
    prompt_tokens: int
    reply_tokens: int
    model: str
    cost: float | None = None
    reasoning: str = ""
    llama_cpp: str = ""
    """Version and build of the llama.cpp that decoded it in this process."""

    def __post_init__(self) -> None:
        parts = parted(whole_characters(self.text), at_limit=self.finish is Finish.LENGTH)
        thoughts = (whole_characters(self.reasoning), parts.thought)
        own = {"text": parts.said, "reasoning": "\n\n".join(part for part in thoughts if part)}
        if self.finish is Finish.LENGTH and own["reasoning"] and not parts.said.strip():
            own["finish"] = Finish.CUT  # the tokens went to the reasoning
        if parts.unfinished and self.finish is not Finish.REFUSED:
            own["finish"] = Finish.CUT
        for name, value in own.items():
            object.__setattr__(self, name, value)


def whole_characters(text: str) -> str:
    """The text with every half of a surrogate pair replaced: JSON can hold one, UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass
class Usage:
    """What calls cost: a sum that units, stages and the budget share.

    `calls` counts every attempt that was sent.
    """

    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    """Faults of the world that were met, by kind (rate_limit, server, timeout, connection,
    malformed, unfinished)."""
    unpriced: int = 0
    """Calls that were answered at a price that nobody knows; `cost` is without them."""

    def __str__(self) -> str:
        return f"{many(self.calls, 'call')}, {many(self.tokens, 'token')}, {self.dollars}"

    @property
    def dollars(self) -> str:
        """The cost in words, as far as it is known."""
        if self.unpriced:
            return f"at least ${self.cost:,.2f}" if self.cost else "of unknown cost"
        return f"${self.cost:,.2f}"

    @property
    def tokens(self) -> int:
        """Prompt and reply tokens together."""
        return self.prompt_tokens + self.reply_tokens

    def add(self, other: Usage) -> None:
        """Add another sum to this one."""
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.reply_tokens += other.reply_tokens
        self.cost += other.cost
        self.seconds += other.seconds
        self.unpriced += other.unpriced
        for kind, count in other.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count

    def to_json(self) -> dict[str, Any]:
        """As it stands in the store."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Usage:
        """Read back."""
        return cls(**value)


class LanguageModel(Protocol):
    """A model that answers one request at a time.

    Raises Infrastructure for a fault of the world (the caller retries it), KeyRefused for 401 and
    403, InputError for what the user must mend (unknown model, unreadable GGUF). A useless answer
    is no error: it comes back as a Reply.
    """

    def complete(self, request: Request) -> Reply:
        """Answer."""
        ...


Ask = Callable[[Request], Reply]
"""A call as the protocol sees it: metered and retried; raises Infrastructure when retries are
spent."""
