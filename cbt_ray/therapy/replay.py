"""Stop rules replayed over sessions that were held: which rule would have ended them, and where.

A replay sees only what was said. Where another rule had ended a session before, nobody knows what
this one would have done.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import quantiles

from cbt_ray.study.protocol import Sessions
from cbt_ray.therapy.language import Language
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.therapy.stop import StopReason, marks_of


@dataclass(frozen=True)
class Rule:
    """One rule on its own: phrases in a therapist's turn, or a limit on messages or words.

    Unset limits are None.
    """

    name: str
    phrases: tuple[str, ...] = ()
    whole_words: bool = False
    min_therapist_turns: int = 0
    messages: int | None = None
    words: int | None = None


@dataclass(frozen=True)
class Met:
    """Where a rule ends a session: the message, counted from 1, the therapist turns until then, and
    the phrase that did it.
    """

    message: int
    therapist_turn: int
    phrase: str | None = None


@dataclass(frozen=True)
class Quartiles:
    """Where a quarter, half and three quarters of the values lie."""

    q1: float
    median: float
    q3: float


@dataclass(frozen=True)
class ReplayedRule:
    """What a rule would have ended of the sessions of an arm, or of all where it is None."""

    arm: str | None
    rule: str
    min_therapist_turns: int
    limit: int | None
    sessions: int
    ended: int
    message: Quartiles | None
    """At which it ended them."""
    first_therapist_turn: int
    """How many it ended on the therapist's first message."""
    phrases: Mapping[str, int]
    """Phrase -> sessions that it ended."""


def rules_of(sessions: Sessions, language: Language) -> list[Rule]:
    """The study file's rules and limits and those that are published in its language.

    What has phrases also without `min_therapist_turns`.
    """
    own = [Rule(rule.rule, marks_of(rule)) for rule in language.sessions(sessions).stop]
    published = [Rule(one.name, one.phrases, one.whole_words) for one in language.replayed]
    minimum = sessions.min_therapist_turns
    found = []
    for rule in dict.fromkeys((*own, *published)):
        found += [rule, replace(rule, min_therapist_turns=minimum)] if minimum else [rule]
    limits = [
        Rule("max_messages", messages=sessions.max_messages),
        Rule("max_words", words=sessions.max_words),
    ]
    return found + limits


def replay(
    session: Session, rules: Sequence[Rule], stop: StopReason | None = None
) -> dict[Rule, Met | None]:
    """For each rule on its own where it would have ended this session, or None.

    `stop` is why the session ended: end tokens are taken out of the text when they are heard, so
    the only one that a replay knows of is the one that ended the session. The summary in the first
    message counts nowhere (the published code counts its words).
    """
    said = [
        (number, turn.text)
        for number, turn in enumerate(session.turns, 1)
        if turn.speaker is Speaker.THERAPIST
    ]
    folded = [(number, text, text.casefold()) for number, text in said]
    return {rule: _met(session, folded, rule, stop) for rule in rules}


def _met(
    session: Session, said: Sequence[tuple[int, str, str]], rule: Rule, stop: StopReason | None
) -> Met | None:
    if rule.messages is not None or rule.words is not None:
        return _limit(session, rule)
    heard = _listener(rule)
    for turn, (number, text, folded) in enumerate(said, 1):
        phrase = heard(text, folded) if turn >= rule.min_therapist_turns else None
        if phrase is not None:
            return Met(number, turn, phrase)
    if (
        rule.name == "end_token"
        and stop is StopReason.END_TOKEN
        and len(said) >= rule.min_therapist_turns
    ):
        return Met(len(session.turns), len(said), rule.phrases[0])
    return None


def _listener(rule: Rule) -> Callable[[str, str], str | None]:
    """The first phrase of the rule, in its order, that a turn holds."""
    phrases = [(phrase, phrase.casefold()) for phrase in rule.phrases]

    def heard(text: str, folded: str) -> str | None:
        for phrase, plain in phrases:
            if plain in folded and not (
                rule.whole_words and not re.search(rf"\b{re.escape(phrase)}\b", text, re.IGNORECASE)
            ):
                return phrase
        return None

    return heard


def _limit(session: Session, rule: Rule) -> Met | None:
    words = therapist = 0
    for number, turn in enumerate(session.turns, 1):
        words += len(turn.text.split())
        therapist += turn.speaker is Speaker.THERAPIST
        if number >= (rule.messages or number + 1) or words >= (rule.words or words + 1):
            return Met(number, therapist)
    return None


def stop_table(
    sessions: Iterable[tuple[str, Session, StopReason | None]], rules: Sequence[Rule]
) -> list[ReplayedRule]:
    """A row for each arm and rule, then one for each rule over all arms (arm None).

    `sessions` are (arm, session, why it ended).
    """
    met: dict[str | None, list[Mapping[Rule, Met | None]]] = {}
    for arm, session, stop in sessions:
        met.setdefault(arm, []).append(replay(session, rules, stop))
    everything = [found for arm in list(met) for found in met[arm]]
    groups = [*met.items(), (None, everything)] if everything else []
    return [
        _row(arm, rule, [found[rule] for found in held]) for arm, held in groups for rule in rules
    ]


def _row(arm: str | None, rule: Rule, found: Sequence[Met | None]) -> ReplayedRule:
    ended = [met for met in found if met is not None]
    phrases = Counter(met.phrase for met in ended if met.phrase is not None)
    return ReplayedRule(
        arm=arm,
        rule=rule.name,
        min_therapist_turns=rule.min_therapist_turns,
        limit=rule.messages or rule.words,
        sessions=len(found),
        ended=len(ended),
        message=_quartiles([met.message for met in ended]),
        first_therapist_turn=sum(met.therapist_turn == 1 for met in ended),
        phrases=dict(sorted(phrases.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def _quartiles(values: Sequence[int]) -> Quartiles | None:
    if not values:
        return None
    low, median, high = (
        quantiles(values, n=4, method="inclusive") if len(values) > 1 else [float(values[0])] * 3
    )
    return Quartiles(float(low), float(median), float(high))
