"""Text that matches a regular expression: drawn by rule, word-like where the expression leaves
room. For the scripted model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_TALK = """
I notice that the week was long and mornings feel heavy so we look at one thought together and
write it down before lunch because work sleep and friends all matter when mood is low then try a
small walk after tea and see what changes
"""
_WORDS = _TALK.split()
_ALPHABET = [chr(code) for code in range(32, 127)]
_SLACK = 40
"""An open or wide repetition of letters and blanks is filled this far above its minimum, any other
this far:"""
_SHORT_SLACK = 6


def matching(
    pattern: str, rng: random.Random, *, shortest: int = 0, longest: int | None = None
) -> str:
    """A text that the pattern matches and whose length lies between the bounds, where a few draws
    find one.
    """
    tree = parser.parse(pattern)
    text = ""
    for _ in range(50):
        text = _sequence(tree, rng)
        if shortest <= len(text) and (longest is None or len(text) <= longest):
            break
    return text


def words(rng: random.Random, length: int, alphabet: Sequence[str] = _ALPHABET) -> str:
    """Words up to exactly this length, in letters of the alphabet alone."""
    allowed = frozenset(alphabet)
    text = ""
    while len(text) < length:
        word = rng.choice(_WORDS)
        step = (" " if text and " " in allowed else "") + word
        fitting = "".join(letter for letter in step if letter in allowed)
        text += fitting or rng.choice(alphabet)
    text = text[:length]
    return (
        text[:-1] + rng.choice([c for c in alphabet if c.isalnum()] or list(alphabet))
        if text.endswith(" ")
        else text
    )


def _sequence(tree: Any, rng: random.Random) -> str:
    return "".join(_piece(kind, value, rng) for kind, value in tree)


def _piece(kind: Any, value: Any, rng: random.Random) -> str:
    if kind is op.LITERAL:
        return chr(value)
    if kind in (op.IN, op.ANY, op.NOT_LITERAL):
        return rng.choice(_letters(kind, value))
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        return _repeat(value, rng)
    if kind is op.SUBPATTERN:
        return _sequence(value[-1], rng)
    if kind is op.BRANCH:
        return _sequence(rng.choice(value[1]), rng)
    return ""  # anchors


def _repeat(repetition: tuple[int, int, Any], rng: random.Random) -> str:
    least, most, tree = repetition
    kind, value = tree[0]
    letters = (
        _letters(kind, value) if len(tree) == 1 and kind in (op.IN, op.ANY, op.NOT_LITERAL) else []
    )
    count = rng.randint(least, min(int(most), least + (_SLACK if " " in letters else _SHORT_SLACK)))
    if letters and count > 1:
        return words(rng, count, letters)
    return "".join(_sequence(tree, rng) for _ in range(count))


def _letters(kind: Any, value: Any) -> list[str]:
    """The printable ASCII characters that one place of the pattern allows."""
    if kind is op.ANY:
        return _ALPHABET
    if kind is op.NOT_LITERAL:
        return [letter for letter in _ALPHABET if ord(letter) != value]
    negated = value[0][0] is op.NEGATE
    inside = {letter for letter in _ALPHABET if any(_holds(part, ord(letter)) for part in value)}
    return [letter for letter in _ALPHABET if (letter in inside) != negated]


def _holds(part: tuple[Any, Any], code: int) -> bool:
    kind, value = part
    if kind is op.LITERAL:
        return bool(code == value)
    if kind is op.RANGE:
        return bool(value[0] <= code <= value[1])
    if kind is op.CATEGORY:
        return bool(re.match(_CATEGORIES[value], chr(code)))
    return False


_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}
