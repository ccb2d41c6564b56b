"""What sends a generated part back to the generator (arXiv 2412.00251, Methods, and the published
code's validation).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from cbt_ray.study.protocol import Courses
from cbt_ray.therapy.language import Course, Need, any_of, label_of, whole_words
from cbt_ray.therapy.session import Speaker, Turn

_MARKDOWN = re.compile(r"(?m)^\s*(#{1,6} |[-*+] |\d+[.)] |>|```)|\*\*|__|`|^\s*\|.*\|\s*$")


def fault_of_part(turns: Sequence[Turn], part: int, session: int, course: Course) -> str | None:
    """Name what is wrong with part `part` (from 1) of session `session` (from 1), or None.

    One word, counted by `status`.
    """
    asked, label = course.parts[part - 1], label_of(course.labels)
    farewell = whole_words(course.farewells)
    faults = (
        ("empty", not turns or any(not turn.text.strip() for turn in turns)),
        ("same_speaker_twice", any(a.speaker is b.speaker for a, b in pairwise(turns))),
        ("speaker_label", any(label.search(turn.text) for turn in turns)),
        ("markdown", any(_MARKDOWN.search(turn.text) for turn in turns)),
        (
            "ended_early",
            not asked.farewell and any(farewell.search(turn.text) for turn in turns),
        ),
        *((f"no_{need.name}", not _held(need, turns)) for need in asked.needed(session)),
    )
    return next((name for name, wrong in faults if wrong), None)


def fault_of_turn(
    turn: Turn, before: Sequence[Turn], courses: Courses, course: Course
) -> str | None:
    """Name what is wrong with a turn that is written by itself, or None; `before` are the same
    speaker's.
    """
    low, high = courses.turn_chars
    faults = (
        ("speaker_label", label_of(course.labels).search(turn.text)),
        ("markdown", _MARKDOWN.search(turn.text)),
        ("ended_early", whole_words(course.farewells).search(turn.text)),
        ("length", not low <= len(turn.text) <= high),
        ("said_before", any(one.text.casefold() == turn.text.casefold() for one in before)),
    )
    return next((name for name, wrong in faults if wrong), None)


def _held(need: Need, turns: Sequence[Turn]) -> bool:
    said = (turn.text for turn in turns if turn.speaker is Speaker.THERAPIST)
    found = any_of(need.patterns)
    return sum(1 for text in said for _ in found.finditer(text)) >= need.at_least


def fault_of_summary(summary: str, chars: tuple[int, int]) -> str | None:
    """Name what is wrong with a session's summary, or None."""
    if not summary.strip():
        return "no_summary"
    return None if chars[0] <= len(summary.strip()) <= chars[1] else "summary_length"
