"""Flags of a simulated session. They are outcomes of the treatment and never exclude one; rules and thresholds are data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from cbt_ray.study.protocol import Flags
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.therapy.stop import StopReason

NAMES = ("few_therapist_turns", "early_end", "repetition", "role_confusion", "template_leakage")
_BY_LENGTH = {StopReason.MAX_MESSAGES, StopReason.MAX_WORDS}
_OTHER_SIDE = re.compile(r"(?im)^\s*(patient|client)\s*:|\bas your patient\b|\bmy therapist\b|^(hi|hello)[, ]+nova\b")
NEARLY = 0.9
"""Share of equal letters from which two turns count as nearly the same."""


def flags_of(session: Session, stop: StopReason, rules: Flags) -> list[str]:
    """The flags that a session gets, in the order of NAMES."""
    therapist = [turn.text for turn in session.turns_of(Speaker.THERAPIST)]
    patient = [turn.text for turn in session.turns_of(Speaker.PATIENT)]
    texts = [turn.text for turn in session.turns]
    confused = _share([bool(_OTHER_SIDE.search(text)) for text in therapist])
    found = {
        "few_therapist_turns": len(therapist) < rules.few_therapist_turns,
        "early_end": stop not in _BY_LENGTH and len(session.turns) < rules.early_end,
        "repetition": max(repeated_share(therapist), repeated_share(patient)) >= rules.repetition,
        "role_confusion": confused >= rules.role_confusion and confused > 0,
        "template_leakage": any(mark in text for mark in rules.template_leakage for text in texts),
    }
    return [name for name in NAMES if found[name]]


def repeated_share(texts: Sequence[str]) -> float:
    """Share of texts that nearly repeat an earlier one; 0 to 1."""
    folded = [" ".join(text.casefold().split()) for text in texts]
    return _share([any(_nearly(text, earlier) for earlier in folded[:n]) for n, text in enumerate(folded)])


def _nearly(a: str, b: str) -> bool:
    if a == b:
        return True
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    # The cheap upper bounds first: the true ratio costs time quadratic in the length.
    return matcher.real_quick_ratio() >= NEARLY and matcher.quick_ratio() >= NEARLY and matcher.ratio() >= NEARLY


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 0.0
