"""The form of a chat template: what it writes around each message, read off conversations that it
renders, put together again and compared on others. Where that differs, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ChatTemplate

_SYSTEM, _ASKED, _REPLY = (
    Message("system", "Zsystem"),
    Message("user", "Zasked"),
    Message("assistant", "Zreply"),
)
_AGAIN, _REPLY_2, _THIRD = (
    Message("user", "Zagain"),
    Message("assistant", "Zreply2"),
    Message("user", "Zthird"),
)
COMPARED = (
    (_ASKED,),
    (_SYSTEM, _ASKED),
    (_ASKED, _REPLY, _AGAIN),
    (_SYSTEM, _ASKED, _REPLY, _AGAIN, _REPLY_2, _THIRD),
)


def form_of(template: ChatTemplate) -> Form | None:
    """None where the template is of no form that is known here."""
    for start in dict.fromkeys((template.bos, "")):  # BOS may be what each message begins with
        form = _form(template, start)
        if form and all(form.render(one) == rendered(template, *one) for one in COMPARED):
            return form
    return None


@dataclass(frozen=True)
class Form:
    """What stands around each message, and where the system message goes: in front, or into the
    first or last user message.
    """

    place: Literal["front", "first", "last"]
    default: str
    """In front, where there is no system message."""
    start: str
    """BOS, where the template writes it and no piece begins with it."""
    system: tuple[str, str]
    user: tuple[str, str]
    """The second opens the assistant's turn, too, where the template does so."""
    assistant: tuple[str, str]
    opening: str
    """What of the user's second opens the assistant's turn."""

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation, and the assistant's turn opened."""
        system = "".join(
            f"{self.system[0]}{one.content}{self.system[1]}"
            for one in messages
            if one.role == "system"
        )
        turns = [one for one in messages if one.role != "system"]
        text = self.start
        text += (system if self.place == "front" else "") if system else self.default
        inside = {"front": -1, "first": 0, "last": len(turns) - 1}[self.place]
        for number, one in enumerate(turns):
            before, after = self.user if one.role == "user" else self.assistant
            text += f"{before}{system if number == inside else ''}{one.content}{after}"
        return text


def _form(template: ChatTemplate, start: str) -> Form | None:
    """Read the pieces off a rendered conversation, `start` apart."""
    text, alone = rendered(template, _SYSTEM, _ASKED, _REPLY, _AGAIN), rendered(template, _ASKED)
    asked, closed = (
        rendered(template, *one, answer=False) for one in ((_ASKED,), (_ASKED, _REPLY))
    )
    if text is None or alone is None or closed is None:
        return None
    start = start if text.startswith(start) else ""
    text, alone = text.removeprefix(start), alone.removeprefix(start)
    close = closed.partition(_REPLY.content)[2]
    usual = _between(text, _SYSTEM, _ASKED, _REPLY, _AGAIN)
    late = _between(text, _ASKED, _REPLY, _SYSTEM, _AGAIN)
    if usual is not None:
        head, glue, reply, next_, tail = usual
    elif late is not None:
        head, reply, next_, glue, tail = late
    else:
        return None
    opening = next_.removeprefix(close)
    default = alone.partition(_ASKED.content)[0].removesuffix(opening)
    place: Literal["front", "first", "last"] = "first" if late is None else "last"
    system = "", glue
    if late is None and glue.endswith(opening):
        place, system = "front", (head, glue.removesuffix(opening))
    ended = (asked or alone).partition(_ASKED.content)[2]
    turns = (opening, tail), (reply.removeprefix(tail), close)
    return Form(place, default, start, system, *turns, tail.removeprefix(ended))


def rendered(template: ChatTemplate, *messages: Message, answer: bool = True) -> str | None:
    """The conversation; None where the template refuses it."""
    from jinja2 import TemplateError

    try:
        return template.render(messages, answer=answer)
    except TemplateError:
        return None


def _between(text: str, *messages: Message) -> list[str] | None:
    """What comes before, between and after the messages, if they come in this order, each
    once.
    """
    pieces = []
    for message in messages:
        before, found, text = text.partition(message.content)
        if not found or message.content in text:
            return None
        pieces.append(before)
    return [*pieces, text]
