"""The chat template: one function renders the prompt in training and at inference, so that the two
cannot differ.

A template comes with a model and may leave out what it is given. So the words of every message are
looked for in what it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, cached_property, lru_cache
from pathlib import Path

from jinja2 import Template, TemplateError

from cbt_ray.errors import InputError
from cbt_ray.llm.control import Control, Written, mark_for
from cbt_ray.llm.gguf_file import check_gguf, gguf_header
from cbt_ray.llm.request import Message
from cbt_ray.llm.sandbox import Sandbox
from cbt_ray.reading.template_text import TooMuch
from cbt_ray.reading.trial import tried
from cbt_ray.study.study import TODAY

SAMPLE = (
    Message("system", "You are a therapist called Nova. Ask one question at a time."),
    Message("user", "I slept 3 hours — it's 2 am again…"),
    Message("assistant", "That sounds exhausting. What kept you awake?"),
    Message("user", 'My report, and “what if they notice?”\nAlex says: "They won\'t."'),
)
"""A conversation of all roles, by which a template is tried; the last words hold what an escaping
template changes."""
ANSWER = Message("assistant", "What would it mean if they did?")
"""What could follow it."""
_EXCHANGES = [
    (
        Message("assistant", f"That is my question number {number}: what did you do then?"),
        Message(
            "user",
            f"Then, {number} hours later, "
            + "I looked at the clock and counted what was left, " * 6
            + "again.",
        ),
    )
    for number in range(1, 25)
]
LONG = (*SAMPLE, *(one for exchange in _EXCHANGES for one in exchange))
"""The same going on: some templates keep the last messages only, or cut long ones."""
LOST = "the words of a message do not occur in the prompt"


class WordsLost(TemplateError):
    """A template wrote a prompt that lacks the words of a message, or holds them in another
    form.
    """


@dataclass(frozen=True)
class ChatTemplate:
    """A model's own template (Jinja2, from its GGUF or tokenizer) with the texts of its special
    tokens.
    """

    source: str
    bos: str
    eos: str
    turn_end: str = ""
    """What ends the assistant's turn, where that is another token than `eos`."""
    today: str = TODAY.isoformat()
    """The date that it is told."""

    @property
    def end(self) -> str:
        """What ends the assistant's turn."""
        return self.turn_end or self.eos

    def render(self, messages: Sequence[Message], *, answer: bool) -> str:
        """The conversation as text; `answer` opens the assistant's turn after it.

        The text holds its special tokens, BOS included where the template writes it: tokenize it
        without adding any. Raises TemplateError where the template refuses it, fails or does not
        end, WordsLost where it leaves words out.
        """
        return self.written(messages, Control(), answer=answer).text

    def written(self, messages: Sequence[Message], control: Control, *, answer: bool) -> Written:
        """The same in pieces: control tokens in the words of a message are kept apart from those of
        the template.
        """
        mark = mark_for(self.source, *(one.content for one in messages))
        marked = [Message(one.role, control.marked(one.content, mark)) for one in messages]
        return control.written(
            self._worded(_joined(marked) if self.joins_system else marked, answer=answer), mark
        )

    def try_out(self) -> None:
        """Render a long conversation of all roles.

        Raises TemplateError where the template refuses it, leaves words out, or leaves it to the
        model to open its turn: the name of its role would be its first word.
        """
        self.render(LONG, answer=True)
        try:
            asked, open_ended = (self.render(SAMPLE, answer=answer) for answer in (True, False))
            told = self.render([*SAMPLE, ANSWER], answer=False)
        except TemplateError:
            return  # a conversation that ends so is no prompt; a mask is refused with the reason
        if (
            asked == open_ended
            and told.startswith(asked)
            and not told[len(asked) :].lstrip().startswith(ANSWER.content)
        ):
            raise TemplateError(
                "it does not open the assistant's turn: `add_generation_prompt` changes nothing"
            )

    @cached_property
    def joins_system(self) -> bool:
        """Whether the system message goes in front of the user's first one, since the template
        refuses the role.

        One that drops or moves it in silence is left to do so, or a server would render other
        prompts of the same model.
        """
        try:
            self._worded(SAMPLE, answer=True)
        except (WordsLost, TooMuch):
            return False
        except TemplateError:
            return self._takes(_joined(SAMPLE))
        return False

    def with_end(self, control: Control) -> ChatTemplate:
        """The template with the token that it ends the assistant's turn with, where that is a
        control token.
        """
        if self.turn_end:
            return self
        told = [*SAMPLE, ANSWER]
        try:
            text = self.render(told, answer=False)
        except TemplateError:
            return self  # a mask is refused with the reason
        behind = text[text.rindex(told[-1].content) + len(told[-1].content) :].lstrip()
        return (
            self
            if behind.startswith(self.eos)
            else replace(self, turn_end=control.token_at(behind))
        )

    def _takes(self, messages: Sequence[Message]) -> bool:
        try:
            self._worded(messages, answer=True)
        except TemplateError:
            return False
        return True

    def _worded(self, messages: Sequence[Message], *, answer: bool) -> str:
        values = {
            "messages": [message.to_json() for message in messages],
            "bos_token": self.bos,
            "eos_token": self.eos,
            "add_generation_prompt": answer,
            "strftime_now": date.fromisoformat(self.today).strftime,
        }
        text = _environment().rendered(_compiled(self.source), values)
        _expect_words(messages, text)
        return text


def check_served(gguf: Path, today: str) -> None:
    """Raise InputError where a GGUF is torn, or its chat template cannot be used: before anything
    is loaded or asked.
    """
    check_gguf(gguf)
    metadata = gguf_header(gguf).metadata
    source = metadata.get("tokenizer.chat_template")
    if not isinstance(source, str):
        raise InputError(f"gguf: {gguf}: expected a model with a chat template (an instruct model)")
    [faults] = tried([lambda: _faults_of(ChatTemplate(source, "<s>", "</s>", today=today))])
    for said in faults:
        raise InputError(f"gguf: {gguf}: chat_template: refuses a conversation ({said})")


def _faults_of(template: ChatTemplate) -> list[str]:
    try:
        template.try_out()
    except TemplateError as error:
        return [str(error)]
    return []


def _joined(messages: Sequence[Message]) -> list[Message]:
    """The conversation without a system message: its words stand in front of the user's first
    ones.
    """
    if len(messages) < 2 or messages[0].role != "system" or messages[1].role != "user":
        return list(messages)
    first = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
    return [first, *messages[2:]]


def _expect_words(messages: Sequence[Message], text: str) -> None:
    """Turns in their order; the system message anywhere, since some templates move it.

    Space around words may go.
    """
    begin = 0
    for one in messages:
        words = one.content.strip()
        at = text.find(words, 0 if one.role == "system" else begin)
        if at < 0:
            raise WordsLost(f"{LOST} ({one.role}: {words[:40]!r})")
        if one.role != "system":
            begin = at + len(words)


@lru_cache(32)
def _compiled(source: str) -> Template:
    return _environment().compiled(source)


@cache
def _environment() -> Sandbox:
    return Sandbox()
