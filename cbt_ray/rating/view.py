"""What the judge sees of a session: no id, no arm, no model.

Only the injected summary removed, or more where asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

from cbt_ray.therapy.language import Language, whole_words
from cbt_ray.therapy.session import Session, Speaker, Turn, transcript

_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")
_MARKDOWN = re.compile(r"(?m)^\s*(#{1,6}\s+|[-*+]\s+|\d+[.)]\s+|>\s*)|\*\*|__|`+")
_TEMPLATE = re.compile(r"<\|[^|>]*\|>|\[/?INST\]|</?s>|###\s*(Instruction|Response|Input)\s*:?")


Strip = Literal["summary", "paper"]
"""What is taken out of a session before it is rated."""


def judged_turns(session: Session, strip: Strip) -> list[Turn]:
    """The turns that are rated.

    The summary block is no turn, so `summary` removes just that; `paper` the outer turns too.
    """
    turns = list(session.turns)
    if strip == "paper":
        if turns and turns[0].speaker is Speaker.PATIENT:
            turns = turns[1:]
        last = max(
            (n for n, turn in enumerate(turns) if turn.speaker is Speaker.THERAPIST), default=None
        )
        if last is not None:
            del turns[last]
    return turns


def view_text(
    turns: Sequence[Turn],
    view: Literal["plain", "masked"],
    names: Collection[str],
    language: Language,
) -> str:
    """The transcript that the judge reads.

    `names` (arms and models) are blotted out in every view.
    """
    if view == "masked":
        turns = [Turn(turn.speaker, _masked(turn, language)) for turn in turns]
    words = language.transcript
    shown = [Turn(turn.speaker, _blotted(turn.text, names, words.blotted)) for turn in turns]
    return transcript(shown, words)


def _blotted(text: str, names: Collection[str], instead: str) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?i)(?<!\w){re.escape(name)}(?!\w)", lambda _: instead, text)
    return text


def heard(turns: Sequence[Turn], view: str, language: Language) -> int:
    """Of the turns that are rated, those in which the judge reads a word of the therapist."""
    shown = [
        _masked(turn, language) if view == "masked" else turn.text
        for turn in turns
        if turn.speaker is Speaker.THERAPIST
    ]
    return sum(any(letter.isalnum() for letter in text) for text in shown)


def _masked(turn: Turn, language: Language) -> str:
    """A turn without what gives an arm away: the limits statement, markdown, marks of a chat
    template.
    """
    text = _MARKDOWN.sub("", _TEMPLATE.sub("", turn.text))  # in this order: `### Response` is both
    if turn.speaker is Speaker.THERAPIST:
        limits = whole_words(language.masked.limits)
        text = " ".join(
            sentence for sentence in _SENTENCE.split(text) if not limits.search(sentence)
        )
    return text.strip() or "[...]"
