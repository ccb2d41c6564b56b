"""A GGUF for Ollama: the Modelfile, with the model's chat template as a Go template.

Ollama does not run the Jinja template of a GGUF. It takes a template of its own where it knows one
that differs by fewer than 100 characters, and otherwise sends the prompt bare. So the Go template
is written out here: its pieces are read off what the Jinja template renders, put together again and
compared on other conversations. Where that differs, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cbt_ray.errors import InputError
from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ChatTemplate

_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
    "seed": "seed",
    "context": "num_ctx",
}
"""Our words for what Ollama calls a parameter."""
_BY_HAND = (
    "# TEMPLATE must be given by hand: this model's chat template could not be written as "
    "a Go template."
)
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
_COMPARED = (
    (_ASKED,),
    (_SYSTEM, _ASKED),
    (_ASKED, _REPLY, _AGAIN),
    (_SYSTEM, _ASKED, _REPLY, _AGAIN, _REPLY_2, _THIRD),
)


def modelfile(
    gguf_name: str, template: ChatTemplate, sampling: Mapping[str, Any], licence: str
) -> str:
    """The Modelfile beside a GGUF. SYSTEM is left to the user.

    `sampling` may hold temperature, top_p, top_k, min_p, repeat_penalty, max_tokens, seed, and
    context: tokens that it sees.
    """
    if '"' in template.end:
        raise InputError(f"Modelfile: expected an end token without quotes, not {template.end!r}")
    in_go = go_template(template)
    lines = [
        f"FROM ./{gguf_name}",
        _BY_HAND if in_go is None else f'TEMPLATE """{in_go}"""',
        f'PARAMETER stop "{template.end}"',
        *_parameters(sampling),
        'LICENSE """' + licence.replace('"', "'") + '"""',
    ]
    return "\n".join(lines) + "\n"


def _parameters(sampling: Mapping[str, Any]) -> list[str]:
    unknown = sorted(set(sampling) - set(_PARAMETERS))
    if unknown:
        raise InputError(f"sampling: {unknown[0]}: expected one of {', '.join(_PARAMETERS)}")
    return [
        f"PARAMETER {name} {sampling[key]}"
        for key, name in _PARAMETERS.items()
        if sampling.get(key) is not None
    ]


def go_template(template: ChatTemplate) -> str | None:
    """The chat template in Go, without BOS, which the tokenizer adds.

    None where it is of no form that is known here.
    """
    form = _form(template)
    if form is None or any("{{" in piece or '"""' in piece for piece in form.pieces()):
        return None
    if any(form.render(messages) != _rendered(template, *messages) for messages in _COMPARED):
        return None
    return form.go()


@dataclass(frozen=True)
class _Form:
    """What stands around each message, and where the system message goes: in front, or into the
    first or last user message.
    """

    place: Literal["front", "first", "last"]
    default: str
    """In front, where there is no system message."""
    system: tuple[str, str]
    user: tuple[str, str]
    """The second opens the assistant's turn, too, where the template does so."""
    assistant: tuple[str, str]

    def pieces(self) -> tuple[str, ...]:
        return (self.default, *self.system, *self.user, *self.assistant)

    def render(self, messages: Sequence[Message]) -> str:
        """As Ollama renders `go()`."""
        system = "".join(
            f"{self.system[0]}{one.content}{self.system[1]}"
            for one in messages
            if one.role == "system"
        )
        turns = [one for one in messages if one.role != "system"]
        text = (system if self.place == "front" else "") if system else self.default
        inside = {"front": -1, "first": 0, "last": len(turns) - 1}[self.place]
        for number, one in enumerate(turns):
            before, after = self.user if one.role == "user" else self.assistant
            text += f"{before}{system if number == inside else ''}{one.content}{after}"
        return text

    def go(self) -> str:
        """Ollama may name the system message among the messages, too; there it is skipped."""
        system = f"{self.system[0]}{{{{ $.System }}}}{self.system[1]}"
        front = system if self.place == "front" else ""
        inside = {
            "front": "",
            "first": f"{{{{ if and $first $.System }}}}{system}{{{{ end }}}}{{{{ $first = false "
            f"}}}}",
            "last": f"{{{{ if and $.System (eq (len (slice $.Messages $number)) 1) "
            f"}}}}{system}{{{{ end }}}}",
        }[self.place]
        return (
            f"{{{{ $first := true }}}}{{{{ if $.System }}}}{front}{{{{ else }}}}{self.default}{{{{ "
            f"end }}}}"
            "{{ range $number, $_ := $.Messages }}"
            f'{{{{ if eq .Role "user" }}}}{self.user[0]}{inside}{{{{ .Content }}}}{self.user[1]}'
            f'{{{{ else if eq .Role "assistant" }}}}{self.assistant[0]}{{{{ .Content '
            f"}}}}{self.assistant[1]}{{{{ end }}}}"
            "{{ end }}"
        )


def _form(template: ChatTemplate) -> _Form | None:
    """Read the pieces off a rendered conversation."""
    text = _rendered(template, _SYSTEM, _ASKED, _REPLY, _AGAIN)
    alone, closed = _rendered(template, _ASKED), _rendered(template, _ASKED, _REPLY, answer=False)
    if text is None or alone is None or closed is None:
        return None
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
    user, assistant = (opening, tail), (reply.removeprefix(tail), close)
    if late is not None:
        return _Form("last", default, ("", glue), user, assistant)
    if glue.endswith(opening):
        return _Form("front", default, (head, glue.removesuffix(opening)), user, assistant)
    return _Form("first", default, ("", glue), user, assistant)


def _rendered(template: ChatTemplate, *messages: Message, answer: bool = True) -> str | None:
    """The conversation without BOS; None where the template refuses it."""
    from jinja2 import TemplateError

    try:
        text = template.render(messages, answer=answer)
    except TemplateError:
        return None
    return text.removeprefix(template.bos)


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
