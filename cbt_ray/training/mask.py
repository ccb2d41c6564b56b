"""From examples to tokens: what is fed to the model and on which tokens there is a loss.

Of a session only the therapist's words and the end-of-turn token after each of them are
supervised. Where a turn begins and ends is read off the rendered text: the prompt that opens it is
a prefix of the conversation, and the words follow. So the model's own template is used as it is.
Where it writes the last turn in another way than those before it, all are written as those are,
which is what the model sees at inference. A session that is too long becomes several windows, each
the system prompt and whole turns. Of a `turn` example only the reply has a loss. Of a `paper`
example the full text has one, as published, or the answer and the end after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from jinja2 import TemplateError

from cbt_ray.count import agreeing, many
from cbt_ray.errors import InputError
from cbt_ray.llm.control import Control, Written, mark_for
from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ChatTemplate
from cbt_ray.training.dataset import Example, alpaca

IGNORED = -100
"""The label of a token without a loss (torch's convention)."""
SHARE = {"session": (0.02, 0.98), "answer": (0.002, 0.98)}
"""What share of the tokens may be supervised, of sessions and where only an answer is; outside of
it the mask is broken."""
LEFT_OUT = 0.1
"""What share of the therapist's turns may be left out because one exchange alone is longer than
`max_length`."""
NEXT = Message("user", "Thank you, let us go on from there.")
"""What follows a conversation where a template writes its last turn in another way than those
before it."""
REMEDY = "; give another template (`chat_template:` in the recipe)"


class Tokenizer(Protocol):
    """A tokenizer that adds no special tokens: the template wrote them all."""

    control: Control

    def encode(self, text: str, *, control: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids, and for each the characters it stands for (begin, end).

        `control`: control tokens are tokens, not text.
        """
        ...


def encoded(written: Written, tokenizer: Tokenizer) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a prompt in pieces, and the characters of its text that each stands for."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    begin = 0
    for piece in written.pieces:
        found, places = tokenizer.encode(piece.text, control=piece.control)
        ids += found
        offsets += [(begin + first, begin + last) for first, last in places]
        begin += len(piece.text)
    return ids, offsets


def plain(text: str, tokenizer: Tokenizer, end: str = "") -> Written:
    """A text that no template wrote: whatever reads like a control token in it is none, but for the
    `end` after it.
    """
    mark = mark_for(text)
    return tokenizer.control.written(tokenizer.control.marked(text, mark) + end, mark)


@dataclass(frozen=True)
class Window:
    """One sequence to train on.

    `labels` are the ids where there is a loss and IGNORED elsewhere.
    """

    patient: str
    session: int
    input_ids: list[int]
    labels: list[int]

    @property
    def supervised(self) -> int:
        """Tokens with a loss; the first token of a sequence is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class Masked:
    """The windows of many examples and what became of the turns."""

    windows: list[Window]
    left_out: int = 0
    """Therapist turns in exchanges that are longer than `max_length` by themselves."""

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(len(window.input_ids) for window in self.windows)

    @property
    def supervised(self) -> int:
        """Tokens with a loss."""
        return sum(window.supervised for window in self.windows)

    @property
    def longest(self) -> int:
        """Tokens of the longest window."""
        return max((len(window.input_ids) for window in self.windows), default=0)

    @property
    def share(self) -> float:
        """Supervised share of all tokens."""
        return self.supervised / self.tokens if self.tokens else 0.0


def mask(
    examples: Sequence[Example],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    max_length: int,
    loss: Literal["full", "answer"] = "full",
) -> Masked:
    """Tokens and labels of all examples; refuses a dataset whose mask cannot be right.

    `loss` is that of `paper` examples.
    """
    windows: list[Window] = []
    left_out = turns = 0
    for example in examples:
        if "messages" in example and "turn" in example:
            made, lost = _reply_windows(example, template, tokenizer, max_length)
            turns += 1
        elif "messages" in example:
            made, lost = _session_windows(example, template, tokenizer, max_length)
            turns += sum(message["role"] == "assistant" for message in example["messages"])
        else:
            made, lost = _text_windows(example, template.end, tokenizer, max_length, loss)
            turns += 1
        windows += made
        left_out += lost
    kind = "answer" if examples and "turn" in examples[0] else "session"
    if examples and "messages" not in examples[0]:
        kind = loss
    return _sane(Masked(windows, left_out), turns, SHARE.get(kind), max_length)


def supervise(
    messages: Sequence[Message], template: ChatTemplate, tokenizer: Tokenizer, *, last: bool = False
) -> tuple[list[int], list[int]]:
    """Token ids and labels of one conversation, whole.

    `last`: of the assistant's turns only the last has a loss.
    """
    turns = [index for index, one in enumerate(messages) if one.role == "assistant"][
        -1 if last else 0 :
    ]
    written, spans = _spans(messages, turns, template, tokenizer.control)
    ids, offsets = encoded(written, tokenizer)
    labels = [IGNORED] * len(ids)
    position = 0
    for begin, end in spans:
        while position < len(ids) and offsets[position][0] < begin:
            position += 1
        while position < len(ids) and offsets[position][1] <= end:
            labels[position] = ids[position]
            position += 1
    return ids, labels


def _spans(
    messages: Sequence[Message], turns: Sequence[int], template: ChatTemplate, control: Control
) -> tuple[Written, list[tuple[int, int]]]:
    """The conversation, and where in it the assistant's turns are: from after the prompt that
    opens one to after its end.
    """
    openings = [_render(template, messages[:index], control, answer=True).text for index in turns]

    def found(written: Written) -> list[tuple[int, int]]:
        pairs = zip(turns, openings, strict=True)
        return [
            _span(written.text, opening, index, messages[index].content, template)
            for index, opening in pairs
        ]

    written = _render(template, messages, control, answer=False)
    try:
        return written, found(written)
    except InputError:
        if not turns or turns[-1] != len(messages) - 1:
            raise
        more = _render(template, [*messages, NEXT], control, answer=False)
        try:
            spans = found(more)
        except InputError:
            spans = []
        if not spans:
            raise
        return more.until(spans[-1][1]), spans


def _span(
    text: str, opening: str, index: int, content: str, template: ChatTemplate
) -> tuple[int, int]:
    """Where a turn is, which is `opening`, the assistant's words and the end of the turn, with
    nothing but space between them.
    """
    words, begin = content.strip(), len(opening)
    at = text.find(words, begin)
    if not text.startswith(opening) or at < 0 or text[begin:at].strip():
        said = (
            f"chat_template: expected that turn {index} renders the same whatever follows; it "
            "is not prefix-stable"
        )
        raise InputError(said + REMEDY)
    behind = at + len(words)
    end = text.find(template.end, behind) if template.end else -1
    if end < 0 or text[behind:end].strip():
        found = text[behind : behind + 20].strip()
        said = (
            f"chat_template: expected {template.end!r} at the end of the assistant's turn "
            f"{index}, found {found!r}"
        )
        raise InputError(
            f"{said}; name what ends a turn (`turn_end:` in the recipe), or{REMEDY[1:]}"
        )
    return begin, end + len(template.end)


def _render(
    template: ChatTemplate, messages: Sequence[Message], control: Control, *, answer: bool
) -> Written:
    try:
        return template.written(messages, control, answer=answer)
    except TemplateError as error:
        raise InputError(
            f"chat_template: refuses the therapist's messages ({error}){REMEDY}"
        ) from error


def _session_windows(
    example: Example, template: ChatTemplate, tokenizer: Tokenizer, max_length: int
) -> tuple[list[Window], int]:
    """Windows of one session and the therapist turns left out.

    What the patient says last leads to no answer and is cut.
    """
    system, exchanges = exchanges_of(
        [Message(one["role"], one["content"]) for one in example["messages"]]
    )
    windows: list[Window] = []
    left_out = begin = 0
    while begin < len(exchanges):
        end, made = _longest(system, exchanges[begin:], template, tokenizer, max_length)
        if made:
            windows.append(Window(example["patient"], example["session"], *made))
        else:
            left_out += 1
        begin += end
    return windows, left_out


def _reply_windows(
    example: Example, template: ChatTemplate, tokenizer: Tokenizer, max_length: int
) -> tuple[list[Window], int]:
    """The window of one reply; of a history that is too long the oldest exchanges go, whole."""
    messages = [Message(one["role"], one["content"]) for one in example["messages"]]
    system, exchanges = exchanges_of(messages)
    while exchanges:
        kept = [*system, *(one for exchange in exchanges for one in exchange)]
        ids, labels = supervise(kept, template, tokenizer, last=True)
        end = max(index for index, label in enumerate(labels) if label != IGNORED) + 1
        if end <= max_length:
            return [Window(example["patient"], example["session"], ids[:end], labels[:end])], 0
        exchanges.pop(0)
    return [], 1


def _longest(
    system: list[Message],
    exchanges: list[list[Message]],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    max_length: int,
) -> tuple[int, tuple[list[int], list[int]] | None]:
    """As many whole exchanges as fit, found by bisection.

    (1, None) where not even the first one does.
    """
    fits: tuple[int, tuple[list[int], list[int]] | None] = (1, None)
    low, high, count = 1, len(exchanges), len(exchanges)
    while low <= high:
        made = supervise(
            [*system, *(one for exchange in exchanges[:count] for one in exchange)],
            template,
            tokenizer,
        )
        if len(made[0]) <= max_length:
            fits, low = (count, made), count + 1
        else:
            high = count - 1
        count = (low + high + 1) // 2
    return fits


def exchanges_of(messages: list[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system message, and the turns in pieces that begin with the patient and end with the
    therapist.
    """
    system = [one for one in messages[:1] if one.role == "system"]
    pieces: list[list[Message]] = [[]]
    for message in messages[len(system) :]:
        pieces[-1].append(message)
        if message.role == "assistant":
            pieces.append([])
    return system, pieces[:-1]


def _text_windows(
    example: Example,
    end: str,
    tokenizer: Tokenizer,
    max_length: int,
    loss: Literal["full", "answer"],
) -> tuple[list[Window], int]:
    """A `paper` example: loss on the full text or on the answer.

    Of a history that is too long the oldest turns go, whole.
    """
    history = list(example["history"])
    while True:
        shown = {**example, "history": history}
        ids, offsets = encoded(plain(alpaca(shown), tokenizer, end), tokenizer)
        if len(ids) <= max_length:
            answer = len(alpaca({**shown, "response": ""})) if loss == "answer" else 0
            labels = [
                one if begin >= answer else IGNORED
                for one, (begin, _) in zip(ids, offsets, strict=True)
            ]
            return [Window(example["patient"], example["session"], ids, labels)], 0
        if not history:
            return [], 1
        history.pop(0)


def _sane(masked: Masked, turns: int, share: tuple[float, float] | None, max_length: int) -> Masked:
    if masked.left_out > LEFT_OUT * turns:
        raise InputError(
            f"max_length: expected room for the system prompt and one exchange; {masked.left_out} "
            f"of {many(turns, 'therapist turn')} {agreeing(masked.left_out, 'does', 'do')} not "
            f"fit {many(max_length, 'token')}"
        )
    if share:
        expect_share(masked, share, "dataset")
    return masked


def expect_share(masked: Masked, share: tuple[float, float], of: str) -> None:
    """Raise InputError where another share of the tokens is supervised: the mask is broken."""
    if masked.windows and not share[0] <= masked.share <= share[1]:
        raise InputError(
            f"{of}: expected {share[0]:.1%} to {share[1]:.1%} of the tokens supervised, not "
            f"{masked.share:.1%}"
        )
