"""Preference pairs: a conversation, the therapist's answer that was chosen and the one that was
rejected, as tokens and labels.

A file of them is JSON lines of `messages`, `chosen` and `rejected`. Both answers are rendered and
masked as sessions are, with the model's own template: no word of the conversation is supervised,
and each answer ends with its end-of-turn token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cbt_ray.count import agreeing, many
from cbt_ray.errors import InputError
from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.reading import loads, read_text
from cbt_ray.training.mask import (
    IGNORED,
    LEFT_OUT,
    SHARE,
    Masked,
    Tokenizer,
    Window,
    exchanges_of,
    expect_share,
    supervise,
)

ROLES = ("system", "user", "assistant")
LARGEST = 512 << 20
"""Bytes of a file of pairs."""
FIELDS = {"messages", "chosen", "rejected"}
FEWEST_PREFERRED = 0.5
"""Below this share of pairs whose chosen answer is likelier a model still prefers the rejected
ones."""
KINDS = {"trained": "training", "held_out": "held-out"}
"""Of pairs that are measured: those that are trained on, and those of patients who are not."""


@dataclass(frozen=True)
class Preference:
    """One line of a file: the conversation up to the patient's last words, and two answers."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    line: int


@dataclass(frozen=True)
class Pair:
    """Conversation and answer, twice; in both only the answer is supervised."""

    chosen: Window
    rejected: Window

    @property
    def prompt(self) -> list[int]:
        """The tokens in front of both answers."""
        length = min(_begin(self.chosen), _begin(self.rejected))
        return self.chosen.input_ids[:length]


@dataclass(frozen=True)
class PairFigures:
    """How a model takes to pairs; log-probabilities are means over the tokens of an answer, and
    then over the answers.
    """

    preferred: float
    """Share of the pairs in which the chosen answer is likelier than the rejected one."""
    margin: float
    """By how much, in nats a token: TRL's `rewards/margins` is `orpo_beta` times this."""
    log_p_chosen: float
    log_p_rejected: float
    nll: float
    """The loss's first term: nats per token of the chosen answers."""
    odds: float
    """Its second term, the odds ratio times `orpo_beta`."""


@dataclass(frozen=True)
class Paired:
    """The pairs that fit, and how many did not."""

    pairs: list[Pair]
    left_out: int = 0

    @property
    def windows(self) -> list[Window]:
        """Each conversation with each answer."""
        return [window for pair in self.pairs for window in (pair.chosen, pair.rejected)]


def read_preferences(file: Path) -> list[Preference]:
    """Read a file of pairs; InputError names file, line and field."""
    found = []
    for number, line in enumerate(read_text(file, largest=LARGEST).split("\n"), 1):
        if line.strip():
            try:
                found.append(_preference(line, number))
            except ValueError as error:
                raise InputError(f"{file}: line {number}: {error}") from error
    if not found:
        raise InputError(f"{file}: expected at least one pair")
    return found


def pair(
    preferences: Sequence[Preference],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    max_length: int,
    *,
    measured_only: bool = False,
) -> Paired:
    """Tokens and labels of all pairs.

    Of a conversation that is too long the oldest exchanges go, whole, in front of both answers. A
    pair that is too long without any is left out, and too many of them are refused, but for
    those that are only measured.
    """
    found = (_fitting(one, template, tokenizer, max_length) for one in preferences)
    pairs = [made for made in found if made is not None]
    left_out = len(preferences) - len(pairs)
    if measured_only:
        return Paired(pairs, left_out)
    if left_out > LEFT_OUT * len(preferences):
        raise InputError(
            f"max_length: expected room for a conversation and an answer; {left_out} of "
            f"{many(len(preferences), 'preference pair')} {agreeing(left_out, 'does', 'do')} not "
            f"fit {many(max_length, 'token')}"
        )
    paired = Paired(pairs, left_out)
    expect_share(Masked(paired.windows), SHARE["answer"], "preferences")
    return paired


def _fitting(
    one: Preference, template: ChatTemplate, tokenizer: Tokenizer, max_length: int
) -> Pair | None:
    system, exchanges = exchanges_of([*one.messages, Message("assistant", one.chosen)])
    while exchanges:
        messages = [*system, *(said for exchange in exchanges for said in exchange)][:-1]
        kept = replace(one, messages=tuple(messages))
        made = Pair(
            _window(kept, one.chosen, template, tokenizer),
            _window(kept, one.rejected, template, tokenizer),
        )
        if max(len(made.chosen.input_ids), len(made.rejected.input_ids)) <= max_length:
            return made
        exchanges.pop(0)
    return None


def _window(one: Preference, answer: str, template: ChatTemplate, tokenizer: Tokenizer) -> Window:
    """Conversation and answer up to the end of its turn.

    What a template writes behind that leads to nothing.
    """
    ids, labels = supervise(
        [*one.messages, Message("assistant", answer)], template, tokenizer, last=True
    )
    end = max(index for index, label in enumerate(labels) if label != IGNORED) + 1
    return Window("", one.line, ids[:end], labels[:end])


def _begin(window: Window) -> int:
    return next(index for index, label in enumerate(window.labels) if label != IGNORED)


def _preference(line: str, number: int) -> Preference:
    """One line; ValueError says what is wrong with it."""
    try:
        found = loads(line)
    except ValueError as error:
        raise ValueError(f"expected JSON ({error})") from error
    if not isinstance(found, dict) or set(found) != FIELDS:
        raise ValueError(f"expected an object of {', '.join(sorted(FIELDS))}")
    chosen, rejected = _text(found, "chosen"), _text(found, "rejected")
    if chosen == rejected:
        raise ValueError("rejected: expected another answer than chosen")
    return Preference(_messages(found["messages"]), chosen, rejected, number)


def _text(found: dict[str, Any], field: str) -> str:
    value = found[field]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field}: expected text")
    return value


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("messages: expected at least one message")
    for index, one in enumerate(value):
        if not isinstance(one, dict) or set(one) != {"role", "content"}:
            raise ValueError(f"messages: {index}: expected an object of role and content")
        if one["role"] not in ROLES:
            raise ValueError(
                f"messages: {index}: role: expected {', '.join(ROLES)}, not {one['role']!r}"
            )
        if not isinstance(one["content"], str):
            raise ValueError(f"messages: {index}: content: expected text")
    if value[-1]["role"] != "user":
        raise ValueError("messages: expected the patient's words (user) last")
    return tuple(Message(one["role"], one["content"]) for one in value)
