"""Hidden reasoning in a reply, taken out by rule: tags with or without their opening, cut ones,
channels.

Servers take it out where they know the model's marks; one that does not, and llama.cpp in this
process, hand it over with the answer. The marks are those that model cards and the parsers of vLLM
and SGLang name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cbt_ray.reading import loads

_WORD = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratchpad|monologue)"
_NAME = rf"(?:\w{{1,20}}[:_])?{_WORD}"
_OPEN = re.compile(
    rf"<\s*{_NAME}(?:\s+[\w:-]+=[^<>]{{0,200}})?\s*>|<\|(?:begin_of_)?{_WORD}\|>|◁{_WORD}▷|<\|START_THINKING\|>"
    r"|<\|begin\|>\s*assistant\s*<\|think\|>|(?-i:\[THINK\])|<\|inner_prefix\|>|<unused94>|<\|channel>\s*\w+",
    re.IGNORECASE,
)
"""`[THINK]` in capitals only: "[thinking]" is how a patient's gesture is written."""
_CLOSE = re.compile(
    rf"<\s*/\s*{_NAME}\s*>|<\|(?:end_of_|/){_WORD}\|>|◁/{_WORD}▷|<\|END_THINKING\|>"
    r"|(?-i:\[/THINK\])|<\|inner_suffix\|>|<unused95>|<channel\|>"
    r"|<\|end\|>\s*<\|begin\|>\s*assistant\s*<\|content\|>",
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
_FINAL = re.compile(
    r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>", re.IGNORECASE
)
_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE_CHANNELS = re.compile(
    r"\A(?:assistant)?(?:analysis(?=[^\s\w.,!?:;)/\u2013\u2014-]|[A-Z]|.*assistantfinal)"
    r"|(?=assistantfinal))",
    re.DOTALL,
)
"""Channels whose control tokens were dropped on the way: "analysisGreet her.assistantfinalHello.".
"""
_BARE_FINAL = re.compile(r"assistantfinal(?:json)?(?=\S)")
_HERE = r"\s*Here(?:'s| is) my "
_PROCESS = re.compile(rf"\A{_HERE}thought process:(.*?)(?:\n{_HERE}response:(.*)|\Z)", re.DOTALL)
"""Granite 3. A patient may begin so, too: without a response it is reasoning only where the reply
was cut."""
_MARK = rf"(?:{_OPEN.pattern}|{_CLOSE.pattern}|<\|channel\|>)"
_BEGINS = "<[◁"
"""A mark begins with one of these."""
_QUOTED = re.compile(
    rf"(?:\A|(?<=[\s(\[]))[\"'`\u201c\u2018\xab]{_MARK}[\"'`\u201d\u2019\xbb](?=[\s.,;:!?)\]]|\Z)"
    rf"|(?<=[^\n] ){_MARK}(?= (?-i:tags?|tokens?|marks?|markers?|elements?|placeholders?)\b)"
    rf"|(?<=\w )(?:{_OPEN.pattern})(?:,? (?:and|or) |/|, )(?:{_CLOSE.pattern})"
    rf"|(?<=[^\n] )`[^`\n]{{0,99}}(?:{_OPEN.pattern})"
    rf"[^`\n]{{0,99}}(?:{_CLOSE.pattern})[^`\n]{{0,99}}`",
    re.IGNORECASE,
)
_BRACE = re.compile(r"\s*(?:```(?:json)?)?\s*\{")
"""How JSON begins: looked for in its place, not in a copy for each mark."""
_FENCE = re.compile(r"(?<=\S\n)\s*^```.*?^```", re.DOTALL | re.MULTILINE)
_IN_A_SENTENCE = re.compile(
    rf"(?<=[\w,(] )(?:{_OPEN.pattern})(?=[.,;:!?)]| (?-i:[a-z0-9]))", re.IGNORECASE
)
"""An opening that nothing closes, between words: "I feel <feeling> because <thought>." is a form to
fill in."""


@dataclass(frozen=True)
class Parted:
    """A reply's parts: what is said, what was only thought, and whether the reply ends within a
    thought.
    """

    said: str
    thought: str = ""
    unfinished: bool = False


def parted(text: str, *, at_limit: bool = False) -> Parted:
    """Part a reply, which may have been cut at the token limit.

    A text without marks stays as it is, and so do marks that it only quotes: in JSON, in code,
    between quotation marks.
    """
    shown = _without_quoted(text) if _is_marked(text) else text
    process = _PROCESS.match(text)
    if process and (process[2] is not None or at_limit):
        return Parted((process[2] or "").strip(), process[1].strip(), unfinished=process[2] is None)
    channels, bare = _CHANNEL in shown, bool(_BARE_CHANNELS.match(shown))
    if not (bare or _is_marked(shown)) or _is_object(text):
        return Parted(text)
    if channels:
        return _channels(text)
    return _bare_channels(text) if bare else _tags(text, shown, at_limit)


def _is_marked(text: str) -> bool:
    if not any(begin in text for begin in _BEGINS):  # most replies, and far faster
        return False
    return _CHANNEL in text or bool(_OPEN.search(text) or _CLOSE.search(text))


def _without_quoted(text: str) -> str:
    """The text with other characters, as many, in place of marks that it quotes."""
    text = _FENCE.sub(lambda found: "·" * len(found[0]) if _pair(found[0]) else found[0], text)
    return _QUOTED.sub(lambda found: "·" * len(found[0]), text)


def _pair(text: str) -> bool:
    """Whether reasoning begins and ends in a text."""
    opened = _OPEN.search(text)
    return opened is not None and _CLOSE.search(text, opened.end()) is not None


def opening(prompt: str) -> str:
    """The mark with which a prompt has opened the reasoning already, so that no reply repeats it.

    Else empty.
    """
    found = _OPEN_LAST.search(prompt)
    return found.group() if found else ""


def begins_with_thought(text: str) -> bool:
    """Whether a text opens with a mark of reasoning; one in its middle may be a quotation."""
    return bool(_OPEN.match(text.lstrip())) or text.lstrip().startswith(_CHANNEL)


def _tags(text: str, shown: str, at_limit: bool) -> Parted:
    """`shown` is the text with its quotations blotted out."""
    marks = sorted(
        (
            *((found.span(), True) for found in _OPEN.finditer(shown)),
            *((found.span(), False) for found in _CLOSE.finditer(shown)),
        )
    )
    last = max((begin for (begin, _), opens in marks if not opens), default=-1)
    said, thoughts, at, within = "", list[str](), 0, False
    for (begin, end), opens in marks:
        if opens and (
            within or (begin > last and not at_limit and _IN_A_SENTENCE.match(shown, begin))
        ):
            continue
        if opens:
            said, within = said + text[at:begin], True
        else:  # where none was open, the opening stood in the prompt
            thoughts.append(text[at:begin] if within else said + text[at:begin])
            said, within = said if within else "", False
        at = end
        if not within and _BRACE.match(text, at) and _is_object(text[at:]):
            break
    if within:
        return Parted(said.strip(), _joined([*thoughts, text[at:]]), unfinished=True)
    return Parted(_unwrapped(said + text[at:]), _joined(thoughts))


def _channels(text: str) -> Parted:
    """The final channel is the answer, all others are thoughts."""
    finals = list(_FINAL.finditer(text))
    if not finals:
        return Parted("", text.strip(), unfinished=True)
    said = _END.split(text[finals[-1].end() :], maxsplit=1)[0]
    return Parted(said.strip(), text[: finals[-1].start()].strip())


def _bare_channels(text: str) -> Parted:
    begun = _BARE_CHANNELS.sub("", text, count=1)
    finals = list(_BARE_FINAL.finditer(begun))
    if not finals:
        return Parted("", begun.strip(), unfinished=True)
    return Parted(begun[finals[-1].end() :].strip(), begun[: finals[-1].start()].strip())


def _unwrapped(said: str) -> str:
    wrapped = _WRAPPED.match(said.strip())
    return wrapped[2].strip() if wrapped else said.strip()


def _joined(thoughts: list[str]) -> str:
    return "\n\n".join(thought.strip() for thought in thoughts if thought.strip())


def _is_object(text: str) -> bool:
    whole = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    if not whole.lstrip().startswith("{"):
        return False
    try:
        return isinstance(loads(whole), dict)
    except ValueError:
        return False
