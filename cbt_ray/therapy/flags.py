"""Flags of a simulated session.

They are outcomes of the treatment and never exclude one; rules and thresholds are data.

How well they agree with labels by reading is in `cbt_ray.therapy.validation`; what each flag means
is in docs/flags.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import get_args

from cbt_ray.study.rater import FlagName
from cbt_ray.therapy.language import FlagRules
from cbt_ray.therapy.repetition import said_before
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.therapy.stop import StopReason
from cbt_ray.therapy.voice import voices

NAMES: tuple[str, ...] = get_args(FlagName)
AGAIN = 2
"""Repeated turns below which no share of a session is a repetition."""
_BARE_HEADER = re.compile(r"(?m)^[ \t]*##+[^\w\n]*$")
"""Header marks on a line without a word: an instruction template's; with words they are a markdown
heading, which is style."""
_BY_LENGTH = {StopReason.MAX_MESSAGES, StopReason.MAX_WORDS}


def flags_of(session: Session, stop: StopReason, rules: FlagRules) -> list[str]:
    """The flags that a session gets, in the order of NAMES."""
    return list(fired(session, stop, rules))


def fired(session: Session, stop: StopReason, rules: FlagRules) -> dict[str, tuple[str, ...]]:
    """The same, each with the rules that made it: its own name where it has a single one."""
    texts = {speaker: [turn.text for turn in session.turns_of(speaker)] for speaker in Speaker}
    repeated = sum(repeated_turns(said, rules) for said in texts.values())
    single = {
        "few_therapist_turns": len(texts[Speaker.THERAPIST]) < rules.few_therapist_turns,
        "early_end": stop not in _BY_LENGTH and len(session.turns) < rules.early_end,
        "repetition": _keeps_repeating(repeated, len(session.turns), rules),
    }
    found: dict[str, tuple[str, ...]] = {name: (name,) if single[name] else () for name in single}
    found["role_confusion"] = tuple(
        dict.fromkeys(
            rule for s in Speaker for rule in _confused(session.patient, s, texts[s], rules)
        )
    )
    found["template_leakage"] = tuple(
        _leaks(session.patient, [turn.text for turn in session.turns], rules)
    )
    return {name: found[name] for name in NAMES if found[name]}


def repeated_turns(texts: Sequence[str], rules: FlagRules) -> int:
    """How many of a speaker's turns mainly repeat what it said before."""
    return sum(share >= rules.repeated_share for share in said_before(texts, rules.repeated_run))


def _keeps_repeating(repeated: int, turns: int, rules: FlagRules) -> bool:
    """Once may be a slip; a speaker that keeps on does it again."""
    return repeated >= AGAIN and repeated >= rules.repetition * turns


def _confused(patient: str, speaker: Speaker, texts: Sequence[str], rules: FlagRules) -> list[str]:
    """What confuses the roles in a speaker's turns.

    Nothing below the share of turns that counts.
    """
    known = voices(patient, rules)
    why = [reason for text in texts if (reason := known.confused(speaker, text))]
    return why if why and len(why) >= rules.role_confusion * len(texts) else []


def _leaks(patient: str, texts: Sequence[str], rules: FlagRules) -> Iterator[str]:
    """The marks that stand in a turn, then the rules that are no words."""
    folded = "\n\n".join(texts).casefold()
    yield from (mark for mark in rules.template_leakage if mark.casefold() in folded)
    if "##" in folded and _BARE_HEADER.search(folded):
        yield "header marks alone"
    if any(voices(patient, rules).labelled(text) for text in texts):
        yield "speaker label"
