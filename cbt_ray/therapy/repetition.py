"""What a speaker says again: words in runs that the same speaker said in an earlier turn.

Linear in the length of the session.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CURLY = "\u2019"


def said_before(texts: Sequence[str], run: int) -> list[float]:
    """For each text the share of its words, 0 to 1, that lie in a run of at least `run` words of an
    earlier text.

    Case and punctuation do not count. Short answers may come back: a text of fewer than `run` words
    repeats (1.0) only the text right before it.
    """
    known: set[tuple[str, ...]] = set()
    last: list[str] = []
    shares = []
    for text in texts:
        words = _WORD.findall(text.casefold().replace(_CURLY, "'"))
        runs = list(zip(*(words[start:] for start in range(run)), strict=False))
        if len(words) < run:
            shares.append(float(bool(words) and words == last))
        else:
            shares.append(_covered([held in known for held in runs], run) / len(words))
        known.update(runs)
        last = words
    return shares


def _covered(hits: Sequence[bool], size: int) -> int:
    """How many words lie in a run that was found; runs overlap."""
    covered, end = 0, 0
    for start, hit in enumerate(hits):
        if hit:
            covered += start + size - max(start, end)
            end = start + size
    return covered
