"""Probes: a session spoilt on purpose, in a way that a judge who reads must notice.

Pure: turns in, turns out, or why not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from cbt_ray.rating.homework import HomeworkRules
from cbt_ray.therapy.session import Speaker, Turn
from cbt_ray.unit import digest

Look = Literal["plain", "masked"]
"""How a transcript is shown."""
VIEW = "probe."
"""How the view of a probe's judgement begins; ordinary views are `plain` and `masked`."""
NOTHING_TO_RATE = "nothing_to_rate"
SINGLE_TURN = "single_turn"
NOTHING_CHANGED = "nothing_changed"
NO_DONOR = "no_donor"
NO_HOMEWORK = "no_homework"
"""Also the name of the probe."""
NOTHING_LEFT = "nothing_left"
GUESSES: dict[str, Look] = {"guess_plain": "plain", "guess_masked": "masked"}
"""Probes that ask for the kind of therapist, and how they show the transcript."""
SWAPPED = "swapped"
T = TypeVar("T")


@dataclass(frozen=True)
class Spoilt:
    """A session's turns as the probe shows them, or the reason why the session cannot be probed
    so.
    """

    turns: tuple[Turn, ...]
    reason: str | None = None
    removed: int = 0
    """Sentences, or therapist turns, that went."""


def look_of(name: str, headline: Look) -> Look:
    """How a probe shows its transcript: as the headline does, but for those that ask what style
    does.
    """
    if name == "masked":
        return "plain" if headline == "masked" else "masked"
    return GUESSES.get(name, headline)


def silenced(turns: Sequence[Turn], silence: str) -> Spoilt:
    """The same patient, and a therapist of whose turns each holds `silence`.

    `[...]` would look like text that was taken out.
    """
    kept = [replace(turn, text=silence) if _by_therapist(turn) else turn for turn in turns]
    return Spoilt(tuple(kept), removed=len(_places(turns)))


def shuffled(turns: Sequence[Turn], seed: int) -> Spoilt:
    """The same words of both, the therapist's turns in an order in which none stays in its place
    (Sattolo's shuffle).
    """
    places = _places(turns)
    if len(places) < 2:
        return Spoilt((), SINGLE_TURN)
    rng, order = random.Random(seed), list(places)
    for last in range(len(order) - 1, 0, -1):
        other = rng.randrange(last)
        order[last], order[other] = order[other], order[last]
    mixed = list(turns)
    for place, origin in zip(places, order, strict=True):
        mixed[place] = turns[origin]
    return Spoilt((), NOTHING_CHANGED) if mixed == list(turns) else Spoilt(tuple(mixed))


def swapped(turns: Sequence[Turn], donor: Sequence[Turn] | None) -> Spoilt:
    """The same patient with the therapist turns of another patient's session.

    Where one has more turns than the other, exchanges in the middle of the longer one go, so that
    openings and endings stay.
    """
    foreign = [turn for turn in donor or () if _by_therapist(turn)]
    exchanges, tail = _exchanges(turns)
    count = min(len(foreign), len(exchanges))
    if not count:
        return Spoilt((), NO_DONOR)
    mixed: list[Turn] = []
    for ours, theirs in zip(_outer(exchanges, count), _outer(foreign, count), strict=True):
        mixed += [*ours[:-1], theirs]
    return Spoilt((*mixed, *tail), removed=len(exchanges) - count)


def without_homework(turns: Sequence[Turn], rules: HomeworkRules) -> Spoilt:
    """The session as if nobody had spoken of homework.

    A turn that held nothing else goes, its neighbours become one.
    """
    found = [rules.without(turn.text) for turn in turns]
    removed = sum(count for _, count in found)
    if not any(count for turn, (_, count) in zip(turns, found, strict=True) if _by_therapist(turn)):
        return Spoilt((), NO_HOMEWORK)
    kept: list[Turn] = []
    for turn, (text, _) in zip(turns, found, strict=True):
        if text and kept and kept[-1].speaker is turn.speaker:
            kept[-1] = replace(turn, text=f"{kept[-1].text} {text}")
        elif text:
            kept.append(replace(turn, text=text))
    return Spoilt(tuple(kept), removed=removed) if _places(kept) else Spoilt((), NOTHING_LEFT)


def sampled(
    chains: Sequence[tuple[str, int]], sessions: int, count: int, seed: int
) -> list[tuple[str, int, int]]:
    """Draw `count` sessions of one arm: (patient, replicate, session number), the same in every
    arm.

    Every chain gives one before any gives a second, and a larger `count` keeps what a smaller one
    drew.
    """
    ranked = []
    for patient, replicate in chains:
        chain = digest([seed, "probe", patient, replicate])
        drawn = sorted((digest([chain, number]), number) for number in range(1, sessions + 1))
        ranked += [
            (rank, chain, (patient, replicate, number)) for rank, (_, number) in enumerate(drawn)
        ]
    return [place for _, _, place in sorted(ranked)[:count]]


def _by_therapist(turn: Turn) -> bool:
    return turn.speaker is Speaker.THERAPIST


def _places(turns: Sequence[Turn]) -> list[int]:
    return [place for place, turn in enumerate(turns) if _by_therapist(turn)]


def _exchanges(turns: Sequence[Turn]) -> tuple[list[list[Turn]], list[Turn]]:
    """What the patient says up to each therapist turn, that turn last.

    And what the patient says after the last one.
    """
    exchanges: list[list[Turn]] = []
    current: list[Turn] = []
    for turn in turns:
        current.append(turn)
        if _by_therapist(turn):
            exchanges.append(current)
            current = []
    return exchanges, current


def _outer(items: Sequence[T], count: int) -> list[T]:
    """The first and the last of them, `count` in all."""
    first = (count + 1) // 2
    return [*items[:first], *items[len(items) - (count - first) :]]
