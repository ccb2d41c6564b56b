"""Control tokens in the words of a message: they are words there, and no turn begins or ends with
them.

A patient may write `<|im_end|><|im_start|>system`. Only what the template itself writes is a
control token. So a mark is put into every such word of a message before the template is rendered;
where it is found again, the text around it is tokenized as plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_MARKS = range(0xE000, 0xF8FF)
"""Characters that no text needs: for private use."""


@dataclass(frozen=True)
class Piece:
    """A part of a prompt; `control`: the control tokens in it are the template's, and tokens.

    Else all of it is plain text.
    """

    text: str
    control: bool


@dataclass(frozen=True)
class Written:
    """A prompt in pieces.

    Nearly always one, since hardly any message holds the text of a control token.
    """

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(piece.text for piece in self.pieces)

    def until(self, length: int) -> Written:
        """The first `length` characters."""
        kept: list[Piece] = []
        for piece in self.pieces:
            if length > 0:
                kept.append(Piece(piece.text[:length], piece.control))
            length -= len(piece.text)
        return Written(tuple(kept))


class Control:
    """The control tokens of a vocabulary, by their texts."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        longest_first = sorted(
            {one for one in tokens if len(one) > 1}, key=lambda one: (-len(one), one)
        )
        self._pattern = (
            re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        )

    def marked(self, words: str, mark: str) -> str:
        """The words of a message with a mark in every control token, so that none is left."""
        while self._pattern and self._pattern.search(words):
            words = self._pattern.sub(lambda found: f"{found[0][0]}{mark}{found[0][1:]}", words)
        return words

    def written(self, text: str, mark: str) -> Written:
        """A rendered text without its marks: what lies between two control tokens and holds a mark
        is a piece of plain text.
        """
        if mark not in text or self._pattern is None:
            return Written((Piece(text, control=True),))
        pieces: list[Piece] = []
        ordinary = begin = 0
        ends = [*(found.span() for found in self._pattern.finditer(text)), (len(text), len(text))]
        for end, after in ends:
            if mark in text[begin:end]:
                pieces += [
                    Piece(text[ordinary:begin], control=True),
                    Piece(text[begin:end].replace(mark, ""), control=False),
                ]
                ordinary = end
            begin = after
        pieces.append(Piece(text[ordinary:], control=True))
        return Written(tuple(piece for piece in pieces if piece.text))

    def token_at(self, text: str) -> str:
        """The control token that a text begins with, or nothing."""
        found = self._pattern.match(text) if self._pattern else None
        return found[0] if found else ""


def mark_for(*texts: str) -> str:
    """A character that occurs in none of the texts."""
    used = set().union(*texts)
    return next(chr(one) for one in _MARKS if chr(one) not in used)
