"""Rules: numbers that are counted in a session's turns, without any model; pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from cbt_ray.rating.measure import DIVISION_BY_ZERO, Ends, Value
from cbt_ray.study.rater import Rule, Rulebook
from cbt_ray.therapy.session import Session

QUESTION = re.compile(
    "[?\N{FULLWIDTH QUESTION MARK}\N{ARABIC QUESTION MARK}\N{GREEK QUESTION MARK}]"
)

PERCENT = 100


def ends_of(rule: Rule) -> Ends:
    """The lowest and the highest that a rule can count."""
    if rule.flag is not None:
        return Ends(0, 1)
    return Ends(0, PERCENT if rule.share else None)


def values(book: Rulebook, session: Session, flags: Collection[str]) -> dict[str, Value]:
    """What every rule counts in a session, with the reason where it has no value."""
    return {name: _value(rule, session, flags) for name, rule in book.rules.items()}


def _value(rule: Rule, session: Session, flags: Collection[str]) -> Value:
    if rule.flag is not None:
        return Value(int(rule.flag in flags))
    said = [turn.text for turn in session.turns]
    own = [turn.text for turn in session.turns if rule.of in ("both", turn.speaker.value)]
    if rule.count == "missed":
        turns = [turn for turn in session.turns if rule.of in ("both", turn.speaker.value)]
        return _share(rule, sum(turn.missed is not None for turn in turns), len(turns))
    if rule.count == "words":
        return _share(rule, _words(own), _words(said))
    if rule.count == "turns":
        return _share(rule, len(own), len(said))
    sought = QUESTION if rule.regex is None else re.compile(rule.regex, re.IGNORECASE)
    if rule.share or rule.count == "questions":
        return _share(rule, sum(sought.search(text) is not None for text in own), len(own))
    return Value(sum(1 for text in own for _ in sought.finditer(text)))


def _share(rule: Rule, part: int, whole: int) -> Value:
    if not rule.share:
        return Value(part)
    return Value(PERCENT * part / whole) if whole else Value(None, DIVISION_BY_ZERO)


def _words(texts: Collection[str]) -> int:
    return sum(len(text.split()) for text in texts)
