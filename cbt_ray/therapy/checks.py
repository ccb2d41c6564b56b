"""What sends a generated part back to the generator (arXiv 2412.00251, Methods, and the published
code's validation).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from cbt_ray.therapy.session import Speaker, Turn

PARTS = 4
_MARKDOWN = re.compile(r"(?m)^\s*(#{1,6} |[-*+] |\d+[.)] |>|```)|\*\*|__|`|^\s*\|.*\|\s*$")
_LABEL = re.compile(r"\b(Therapist|Patient|Nova|Client)\s*:")
_FAREWELL = re.compile(
    r"(?i)\b(good ?bye|bye for now|see you (next|again|then)|until (next time|our next)|take care|"
    r"our session (is over|has ended|ends here)|end of (the|our) session)\b"
)


def fault_of_part(turns: Sequence[Turn], part: int, session: int) -> str | None:
    """Name what is wrong with part `part` (1-4) of session `session` (from 1), or None.

    One word, counted by `status`.
    """
    said = [turn.text for turn in turns if turn.speaker is Speaker.THERAPIST]
    faults = (
        ("empty", not turns or any(not turn.text.strip() for turn in turns)),
        ("same_speaker_twice", any(a.speaker is b.speaker for a, b in pairwise(turns))),
        ("speaker_label", any(_LABEL.search(turn.text) for turn in turns)),
        ("markdown", any(_MARKDOWN.search(turn.text) for turn in turns)),
        ("ended_early", part < PARTS and any(_FAREWELL.search(turn.text) for turn in turns)),
        ("no_agenda", part == 1 and not any("agenda" in text.casefold() for text in said)),
        (
            "no_limits",
            part == 1 and session == 1 and not any("emergenc" in text.casefold() for text in said),
        ),
    )
    return next((name for name, wrong in faults if wrong), None)


def fault_of_summary(summary: str, chars: tuple[int, int]) -> str | None:
    """Name what is wrong with a session's summary, or None."""
    if not summary.strip():
        return "no_summary"
    return None if chars[0] <= len(summary.strip()) <= chars[1] else "summary_length"
