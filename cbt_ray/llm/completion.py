"""A chat completion as OpenAI-compatible servers write it: read strictly, since a half answer looks
like a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cbt_ray.errors import Infrastructure
from cbt_ray.llm.exchange import Answer
from cbt_ray.llm.faults import Complaint, Fault, Where
from cbt_ray.llm.request import Finish, Reply, Request
from cbt_ray.reading import loads

CHARS_PER_TOKEN = 4
"""Where a server reports no usage, tokens are estimated from characters."""
MOST_TOKENS = 10_000_000
"""Of one call. More is no count."""
_ENDS = {
    Finish.STOP: re.compile(
        "stop|end_turn|stop_sequence|eos|eos_token|end_of_turn|endoftext|complete|completed|finish|finished|end"
    ),
    Finish.LENGTH: re.compile(
        "length|max_(output_|new_|completion_)?tokens?|max_length|(model_)?(context_)?length|token_limit|limit"
        "|error_limit|(model_)?context_window_exceeded"
    ),
    Finish.REFUSED: re.compile(
        "content_filter(ed)?|refusal|safety|recitation|blocklist|blocked|prohibited_content|spii|sensitive"
        "|guardrail_intervened|moderation|error_toxic|language"
    ),
    # The model's own doing: with another seed it may do otherwise.
    Finish.CUT: re.compile(
        "repetition|tool_calls?|tool_use|function_call|compaction|other|malformed_function_call"
        "|malformed_response|unexpected_tool_call"
    ),
}
"""Finish reasons of servers and providers, in lower case. One that is not here is not known to mean
a whole answer."""
_TEXTS = frozenset({"text", "output_text", "input_text"})
"""Types of parts that are said; what has another type (thinking, a call of a tool) is not."""


def utc_now() -> datetime:
    """The time, as a `Retry-After` with a date wants it."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Reading:
    """What it takes to read an answer: whose it is, what was asked, the price of its tokens, the
    time.
    """

    where: Where
    request: Request
    cost: Callable[[int, int], float | None]
    now: Callable[[], datetime]

    def reply(self, answer: Answer) -> Reply:
        """The reply; raises what the table of faults says of an answer that is none."""
        if not 200 <= answer.status < 300:
            return self._refused(answer, Complaint.of(answer.text))
        document = self._document(answer)
        if document.get("error"):
            return self._refused(answer, Complaint.from_json(document["error"]))
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping):
            raise self._malformed("holds no choices", answer)
        if choice.get("error"):
            return self._refused(answer, Complaint.from_json(choice["error"]))
        message = choice.get("message")
        if not isinstance(message, Mapping):
            raise self._malformed("holds no message", answer)
        said, thought = _contents(message)
        finish = self.finish(choice.get("finish_reason"), refused=bool(message.get("refusal")))
        return self.made(said, thought, finish, document.get("usage"), document.get("model"))

    def finish(self, reason: Any, *, refused: bool = False) -> Finish:
        """Why an answer ended.

        Raises Infrastructure where the server ended it, or does not say that it is whole.
        """
        given = reason.get("type") if isinstance(reason, Mapping) else reason  # SGLang's own form
        word = (
            given.strip().casefold().removeprefix("finishreason.") if isinstance(given, str) else ""
        )
        if refused:
            return Finish.REFUSED
        for finish, words in _ENDS.items():
            if words.fullmatch(word):
                return finish
        raise self.where.world(f"the answer is not whole (finish reason {reason!r})", "unfinished")

    def made(self, said: str, thought: str, finish: Finish, usage: Any, model: Any) -> Reply:
        """A reply with its counts, those that can be believed."""
        prompt, written = counts(usage)
        prompt = prompt or estimated(sum(len(message.content) for message in self.request.messages))
        written = written or estimated(len(said) + len(thought))
        if finish is Finish.CUT and not said.strip():
            finish = Finish.STOP  # a call of a tool and no words: an empty answer
        name = model if isinstance(model, str) and model else self.where.model
        return Reply(said, finish, prompt, written, name[:200], self.cost(prompt, written), thought)

    def _refused(self, answer: Answer, complaint: Complaint) -> Reply:
        """A refusal as a reply; raises what else it is."""
        fault = Fault(answer, complaint, self.where, self.now())
        if fault.is_refusal:
            return self.made("", "", Finish.REFUSED, None, None)
        raise fault.as_ours()

    def _document(self, answer: Answer) -> Mapping[str, Any]:
        try:
            document = loads(answer.text, numbers="any")
        except ValueError as error:
            raise self._malformed(f"is no JSON ({error})", answer) from None
        if not isinstance(document, Mapping):
            raise self._malformed("is no object of JSON", answer)
        return document

    def _malformed(self, what: str, answer: Answer) -> Infrastructure:
        begin = " ".join(answer.text[:200].split())
        return self.where.world(f"the answer {what}: {begin or 'it is empty'}", "malformed")


def counts(usage: Any) -> tuple[int, int]:
    """Prompt and reply tokens as the server counts them; 0 where its count is none."""
    given = usage if isinstance(usage, Mapping) else {}
    return _count(given.get("prompt_tokens")), _count(given.get("completion_tokens"))


def estimated(characters: int) -> int:
    """Tokens of so many characters."""
    return -(-characters // CHARS_PER_TOKEN)


def _count(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value <= MOST_TOKENS else 0


def _contents(message: Mapping[str, Any]) -> tuple[str, str]:
    """What a message says and what it only thought; content may come in parts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    said = "".join(_text(part) for part in parts if _is_said(part))
    thoughts = [_text(part) for part in parts if not _is_said(part)]
    thoughts += [
        _text(message.get(name)) for name in ("reasoning_content", "reasoning", "thinking")
    ]
    return said, "\n\n".join(dict.fromkeys(thought for thought in thoughts if thought))


def _is_said(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return True
    return part.get("type", "text") in _TEXTS and part.get("thought") is not True


def _text(part: Any, depth: int = 4) -> str:
    """The text of a part, which is a text itself, holds one, or holds parts."""
    if isinstance(part, str) or depth == 0:
        return part if isinstance(part, str) else ""
    if isinstance(part, Mapping):
        held = next((part[name] for name in ("text", "content", "thinking") if part.get(name)), "")
        return _text(held, depth - 1)
    return "".join(_text(each, depth - 1) for each in part) if isinstance(part, list) else ""
