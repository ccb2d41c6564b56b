"""Hidden reasoning in a reply, taken out by rule: tags with or without their opening, cut ones, channels.

Servers take it out where they know the model's marks; one that does not, and llama.cpp in this process, hand it
over with the answer. The marks are those that model cards and the parsers of vLLM and SGLang name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cbt_ray.reading import loads

_WORD = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratchpad|monologue)"
_NAME = rf"(?:\w{{1,20}}[:_])?{_WORD}"
_OPEN = re.compile(
    rf"<\s*{_NAME}\s*>|<\|(?:begin_of_)?{_WORD}\|>|◁{_WORD}▷|<\|START_THINKING\|>"
    r"|(?-i:\[THINK\])|<\|inner_prefix\|>|<unused94>|<\|channel>\s*\w+",
    re.IGNORECASE,
)
"""`[THINK]` in capitals only: "[thinking]" is how a patient's gesture is written."""
_CLOSE = re.compile(
    rf"<\s*/\s*{_NAME}\s*>|<\|(?:end_of_|/){_WORD}\|>|◁/{_WORD}▷|<\|END_THINKING\|>"
    r"|(?-i:\[/THINK\])|<\|inner_suffix\|>|<unused95>|<channel\|>",
    re.IGNORECASE,
)
_OPEN_LAST = re.compile(rf"(?:{_OPEN.pattern})\s*\Z", re.IGNORECASE)
_WRAPPED = re.compile(
    r"\A(?:<(answer|response|solution|output)>|<\|(?:begin_of_solution|START_RESPONSE)\|>)(.*?)"
    r"(?:</\1>|<\|(?:end_of_solution|END_RESPONSE)\|>)?\Z",
    re.IGNORECASE | re.DOTALL,
)
"""What some models put around the answer that follows their reasoning."""
_CHANNEL = "<|channel|>"
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>", re.IGNORECASE)
_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE_CHANNELS = re.compile(r"\A(?:assistant)?analysis(?=[^\s\w.,!?]|[A-Z])", re.DOTALL)
"""Channels whose control tokens were dropped on the way: "analysisGreet her.assistantfinalHello."."""
_BARE_FINAL = re.compile(r"assistantfinal(?:json)?(?=\S)")


@dataclass(frozen=True)
class Heard:
    """A reply's parts: what is said, what was only thought, and whether the reply ends within a thought."""

    said: str
    thought: str = ""
    unfinished: bool = False


def heard(text: str) -> Heard:
    """Part a reply. A text without marks, and a JSON object whose strings may quote them, stay as they are."""
    channels, bare = _CHANNEL in text, bool(_BARE_CHANNELS.match(text))
    if not (channels or bare or _OPEN.search(text) or _CLOSE.search(text)) or _is_object(text):
        return Heard(text)
    if channels:
        return _channels(text)
    return _bare_channels(text) if bare else _tags(text)


def opening(prompt: str) -> str:
    """The mark with which a prompt has opened the reasoning already, so that no reply repeats it; else empty."""
    found = _OPEN_LAST.search(prompt)
    return found.group() if found else ""


def begins_with_thought(text: str) -> bool:
    """Whether a text opens with a mark of reasoning; one in its middle may be a quotation."""
    return bool(_OPEN.match(text.lstrip())) or text.lstrip().startswith(_CHANNEL)


def _tags(text: str) -> Heard:
    said, thoughts, rest = "", list[str](), text
    while True:
        opened, closed = _OPEN.search(rest), _CLOSE.search(rest)
        if closed and (opened is None or closed.start() < opened.start()):
            thoughts.append(said + rest[: closed.start()])  # the opening stood in the prompt
            said, rest = "", rest[closed.end() :]
            continue
        if opened is None:
            return Heard(_unwrapped(said + rest), _joined(thoughts))
        said += rest[: opened.start()]
        closed = _CLOSE.search(rest, opened.end())
        thoughts.append(rest[opened.end() : closed.start() if closed else None])
        if closed is None:
            return Heard(said.strip(), _joined(thoughts), unfinished=True)
        rest = rest[closed.end() :]


def _channels(text: str) -> Heard:
    """The final channel is the answer, all others are thoughts."""
    finals = list(_FINAL.finditer(text))
    if not finals:
        return Heard("", text.strip(), unfinished=True)
    said = _END.split(text[finals[-1].end() :], maxsplit=1)[0]
    return Heard(said.strip(), text[: finals[-1].start()].strip())


def _bare_channels(text: str) -> Heard:
    begun = _BARE_CHANNELS.sub("", text, count=1)
    finals = list(_BARE_FINAL.finditer(begun))
    if not finals:
        return Heard("", begun.strip(), unfinished=True)
    return Heard(begun[finals[-1].end() :].strip(), begun[: finals[-1].start()].strip())


def _unwrapped(said: str) -> str:
    wrapped = _WRAPPED.match(said.strip())
    return wrapped[2].strip() if wrapped else said.strip()


def _joined(thoughts: list[str]) -> str:
    return "\n\n".join(thought.strip() for thought in thoughts if thought.strip())


def _is_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(loads(text), dict)
    except ValueError:
        return False
