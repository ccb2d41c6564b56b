"""Stop rules: when a simulated session is over, and the reason that is recorded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cbt_ray.study.protocol import EndToken, Sessions, StopRule
from cbt_ray.therapy.session import Speaker, Turn


class StopReason(StrEnum):
    """Why a session ended: the protocol's rules, then what became of the therapist's model, then
    what only imports know.
    """

    END_TOKEN = "end_token"  # noqa: S105  a stop rule's name
    SUMMARY = "summary"
    FAREWELL = "farewell"
    MAX_MESSAGES = "max_messages"
    MAX_WORDS = "max_words"
    THERAPIST_EMPTY = "therapist_empty"
    THERAPIST_CUT = "therapist_cut"
    THERAPIST_REFUSED = "therapist_refused"
    CONTEXT_FULL = "context_full"
    OTHER = "other"
    """An imported session's own reason, which stands beside it; none of the above."""


SILENCES = frozenset(
    {
        *(StopReason.THERAPIST_EMPTY, StopReason.THERAPIST_CUT),
        *(StopReason.THERAPIST_REFUSED, StopReason.CONTEXT_FULL),
    }
)
"""The therapist's model had nothing to say."""


def end_mark(rules: Sessions) -> str:
    """The end token that the therapist's prompt teaches, or "" where no rule asks for one."""
    return next((marks_of(rule)[0] for rule in rules.stop if isinstance(rule, EndToken)), "")


def marks_of(rule: StopRule) -> tuple[str, ...]:
    """The words that meet a rule; it has them from the study file or, by `Language.sessions`, from
    the language.
    """
    marks = (rule.mark,) if isinstance(rule, EndToken) else rule.phrases or ()
    found = tuple(mark for mark in marks if mark)
    if not found:
        raise ValueError(f"a rule without words: {rule.rule}")
    return found


@dataclass(frozen=True)
class CleanReply:
    """A therapist's reply with the end token taken out, and the rule that it met."""

    text: str
    rule: StopReason | None


def hear(text: str, rules: Sessions) -> CleanReply:
    """Which rule a therapist's reply meets; the first in the order of the study file wins."""
    met = None
    folded = text.casefold()
    for rule in rules.stop:
        marks = marks_of(rule)
        if met is None and any(mark.casefold() in folded for mark in marks):
            met = StopReason(rule.rule)
        if isinstance(rule, EndToken):
            text = re.sub(re.escape(marks[0]), "", text, flags=re.IGNORECASE).strip()
    return CleanReply(text, met)


def stop_reason(
    turns: Sequence[Turn], met: StopReason | None, rules: Sessions
) -> StopReason | None:
    """Whether the session ends after its last turn.

    A rule counts from `min_therapist_turns` on; length always does.
    """
    therapist = sum(turn.speaker is Speaker.THERAPIST for turn in turns)
    if met is not None and therapist >= rules.min_therapist_turns:
        return met
    if len(turns) >= rules.max_messages:
        return StopReason.MAX_MESSAGES
    if sum(len(turn.text.split()) for turn in turns) >= rules.max_words:
        return StopReason.MAX_WORDS
    return None
