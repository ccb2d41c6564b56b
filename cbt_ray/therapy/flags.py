"""Flags of a simulated session. They are outcomes of the treatment and never exclude one; rules and thresholds are data.

How well they agree with labels by reading is in `cbt_ray.therapy.validation`; what each flag means is in docs/flags.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbt_ray.study.protocol import Flags
from cbt_ray.therapy.repetition import said_before
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.therapy.stop import StopReason
from cbt_ray.therapy.voice import voices

NAMES = ("few_therapist_turns", "early_end", "repetition", "role_confusion", "template_leakage")
AGAIN = 2
"""Repeated turns below which no share of a session is a repetition."""
_BY_LENGTH = {StopReason.MAX_MESSAGES, StopReason.MAX_WORDS}


def flags_of(session: Session, stop: StopReason, rules: Flags) -> list[str]:
    """The flags that a session gets, in the order of NAMES."""
    texts = {speaker: [turn.text for turn in session.turns_of(speaker)] for speaker in Speaker}
    confused = max(_confused_share(session.patient, speaker, texts[speaker], rules) for speaker in Speaker)
    found = {
        "few_therapist_turns": len(texts[Speaker.THERAPIST]) < rules.few_therapist_turns,
        "early_end": stop not in _BY_LENGTH and len(session.turns) < rules.early_end,
        "repetition": _keeps_repeating(sum(repeated_turns(said, rules) for said in texts.values()), len(session.turns), rules),
        "role_confusion": confused > 0 and confused >= rules.role_confusion,
        "template_leakage": any(_leaks(session.patient, turn.text, rules) for turn in session.turns),
    }
    return [name for name in NAMES if found[name]]


def repeated_turns(texts: Sequence[str], rules: Flags) -> int:
    """How many of a speaker's turns mainly repeat what it said before."""
    return sum(share >= rules.repeated_share for share in said_before(texts, rules.repeated_run))


def _keeps_repeating(repeated: int, turns: int, rules: Flags) -> bool:
    """Once may be a slip; a speaker that keeps on does it again."""
    return repeated >= AGAIN and repeated >= rules.repetition * turns


def _confused_share(patient: str, speaker: Speaker, texts: Sequence[str], rules: Flags) -> float:
    known = voices(patient, rules)
    return sum(known.confused(speaker, text) for text in texts) / len(texts) if texts else 0.0


def _leaks(patient: str, text: str, rules: Flags) -> bool:
    folded = text.casefold()
    return any(mark.casefold() in folded for mark in rules.template_leakage) or voices(patient, rules).labelled(text)
