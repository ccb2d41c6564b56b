"""Count: a number with what is counted, `1 session` and `2 sessions`."""

from __future__ import annotations


def many(count: float, noun: str, plural: str | None = None) -> str:
    """A count with its noun: `1 row`, `2,000 rows`; `plural` where it is no regular one."""
    return f"{count:,.0f} {agreeing(count, noun, plural)}"


def agreeing(count: float, noun: str, plural: str | None = None) -> str:
    """The noun alone, in the number of a count that is written elsewhere or in another way."""
    return noun if round(count) == 1 else plural or _plural(noun)


def _plural(noun: str) -> str:
    if noun.endswith("epoch"):  # its ch is a k
        return f"{noun}s"
    if noun.endswith("sis"):
        return f"{noun.removesuffix('sis')}ses"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun.removesuffix('y')}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
