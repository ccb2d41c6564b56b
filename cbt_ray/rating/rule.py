"""Rules: numbers that are counted in a session's turns, without any model; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from cbt_ray.rating.measure import DIVISION_BY_ZERO, Ends, MeasureKind, Value
from cbt_ray.study.form import AS_WRITTEN
from cbt_ray.study.rater import Rule, Rulebook
from cbt_ray.therapy.form_json import entries_of, is_quoted
from cbt_ray.therapy.session import Session, Speaker, Turn

QUESTION = re.compile(
    "[?\N{FULLWIDTH QUESTION MARK}\N{ARABIC QUESTION MARK}\N{GREEK QUESTION MARK}]"
)

PERCENT = 100
NO_REFERENCE = "no_reference"
"""The generator gave no labels to this case."""
Reference = Mapping[str, frozenset[str]]
"""A list's field -> the labels that the generator gave to the case."""
NOBODY: Reference = MappingProxyType({})


def ends_of(rule: Rule) -> Ends:
    """The lowest and the highest that a rule can count."""
    if rule.flag is not None or rule.labels is not None:
        return Ends(0, 1)
    return Ends(0, PERCENT if rule.share else None)


def kind_of(rule: Rule) -> MeasureKind:
    """What a rule counts."""
    if rule.flag is not None or rule.labels == "same":
        return "flag"
    return "share" if rule.share or rule.labels is not None else "count"


def values(
    book: Rulebook,
    session: Session,
    flags: Collection[str],
    reference: Reference = NOBODY,
    *,
    lost: int = 0,
) -> dict[str, Value]:
    """What every rule counts in a session, with the reason where it has no value.

    `lost`: replies that missed their form, and of which nothing was said.
    """
    return {
        name: _value(rule, session, flags, reference, lost) for name, rule in book.rules.items()
    }


def named(session: Session, field: str) -> frozenset[str]:
    """The labels in a list's field of the therapist's replies; none of one that missed its form."""
    return frozenset(label for turn in session.turns for label in _entries(turn, field))


def _value(
    rule: Rule, session: Session, flags: Collection[str], reference: Reference, lost: int
) -> Value:
    if rule.flag is not None:
        return Value(int(rule.flag in flags))
    if rule.field is not None:
        return _of_list(rule, rule.field, session, reference)
    turns = [turn for turn in session.turns if rule.of in ("both", turn.speaker.value)]
    if rule.count == "missed":
        own = lost if rule.of != "patient" else 0
        missed = sum(turn.missed is not None for turn in turns)
        return _share(rule, missed + own, len(turns) + own)
    if rule.count == "turns":
        return _share(rule, len(turns), len(session.turns))
    return _of_text(rule, [turn.text for turn in turns], [turn.text for turn in session.turns])


def _of_text(rule: Rule, own: Sequence[str], said: Sequence[str]) -> Value:
    """What is counted in the texts of turns, and in those of both speakers."""
    if rule.count == "words":
        return _share(rule, _words(own), _words(said))
    sought = QUESTION if rule.regex is None else re.compile(rule.regex, re.IGNORECASE)
    if rule.share or rule.count == "questions":
        return _share(rule, sum(sought.search(text) is not None for text in own), len(own))
    return Value(sum(1 for text in own for _ in sought.finditer(text)))


def _of_list(rule: Rule, field: str, session: Session, reference: Reference) -> Value:
    if rule.labels is not None:
        return _labels(rule.labels, named(session, field), reference.get(field))
    entries = _quotations(session.turns, field)
    if rule.count == "entries":
        return Value(len(entries))
    return _share(rule, sum(is_quoted(one, said) for one, said in entries), len(entries))


def _labels(what: str, given: frozenset[str], reference: frozenset[str] | None) -> Value:
    """How far labels agree; what has no denominator has no value."""
    if reference is None:
        return Value(None, NO_REFERENCE)
    if what == "same":
        return Value(int(given == reference))
    whole = {
        "precision": len(given),
        "recall": len(reference),
        "f1": (len(given) + len(reference)) / 2,
    }[what]
    return Value(len(given & reference) / whole) if whole else Value(None, DIVISION_BY_ZERO)


def _quotations(turns: Sequence[Turn], field: str) -> list[tuple[str, str]]:
    """Every entry's field, with what the patient said before the reply."""
    return [
        (entry, before.text)
        for before, turn in pairwise(turns)
        if before.speaker is Speaker.PATIENT
        for entry in _entries(turn, field)
    ]


def _entries(turn: Turn, field: str) -> list[str]:
    if turn.speaker is not Speaker.THERAPIST:
        return []
    return entries_of(dict(turn.hidden).get(AS_WRITTEN), field)


def _share(rule: Rule, part: int, whole: int) -> Value:
    if not rule.share:
        return Value(part)
    return Value(PERCENT * part / whole) if whole else Value(None, DIVISION_BY_ZERO)


def _words(texts: Collection[str]) -> int:
    return sum(len(text.split()) for text in texts)
