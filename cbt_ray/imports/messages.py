"""Messages: where in a published text one begins, by the label of its speaker, and what the patient's first one brings along."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cbt_ray.imports.form import Draft, Written
from cbt_ray.imports.remark import Remark, line_of
from cbt_ray.therapy.session import Speaker

AFTER_BLANK = re.compile(r"\n\n(Patient|Therapist):")
"""A label at the start of a message, where a blank line follows each message: at the start of a line inside one it is words."""
AT_LINE = re.compile(r"\n(Patient|Therapist):")
"""A label at the start of a line, where a model wrote the whole conversation."""
_LABEL = re.compile(r"(Patient|Therapist):")
_SPEAKERS = {"Patient": Speaker.PATIENT, "Therapist": Speaker.THERAPIST}
TWICE = "the same speaker twice in a row"
NO_THERAPIST = "no therapist turn"


@dataclass(frozen=True)
class Message:
    """A speaker's label and what stands behind it: positions in the text."""

    speaker: Speaker
    start: int
    """Where its label begins."""
    words: int
    """Where its words begin, blanks included."""
    end: int


@dataclass
class Reading:
    """A text while it is read."""

    file: str
    text: str
    draft: Draft = field(default_factory=Draft)
    remarks: list[Remark] = field(default_factory=list)

    def remark(self, position: int, reason: str) -> None:
        """Note something about a place."""
        self.remarks.append(Remark(self.file, line_of(self.text, position), reason))

    def stray(self, start: int, end: int) -> None:
        """Words that nobody says: kept, so that the text can be written again, and noted."""
        words = self.text[start:end]
        if words.strip():
            self.remark(
                start + len(words) - len(words.lstrip()), "words before the first message, or between messages, that nobody says"
            )
        self.draft.text(words)

    def written(self, opening: str, summary: str, stopped: tuple[str, str] | None) -> Written:
        """What was read, with what is out of the ordinary about its turns noted."""
        turns = tuple(self.draft.turns)
        if not any(turn.speaker is Speaker.THERAPIST for turn in turns):
            self.remarks.append(Remark(self.file, 0, NO_THERAPIST))
        return Written(turns, self.draft.form(), opening, summary, stopped)


def messages(text: str, label: re.Pattern[str], start: int, end: int) -> Iterator[Message]:
    """The messages between two positions, each up to the next one's label; one may begin right at the first."""
    first = _LABEL.match(text, start, end)
    found = [*([first] if first else []), *label.finditer(text, start, end)]
    ends = [*(match.start(1) for match in found[1:]), end]
    for match, stop in zip(found, ends, strict=False):
        yield Message(_SPEAKERS[match[1]], match.start(1), match.end(), stop)


def first_message(text: str, label: re.Pattern[str], start: int, end: int) -> int:
    """Where the first message begins; `end` where there is none."""
    return next((message.start for message in messages(text, label, start, end)), end)


def note_doubles(reading: Reading, found: Sequence[Message]) -> None:
    """Note where a speaker speaks twice in a row."""
    for before, message in pairwise(found):
        if before.speaker is message.speaker:
            reading.remark(message.start, TWICE)


def read_opening(reading: Reading, start: int, end: int, lead: re.Pattern[str], passed: Sequence[str]) -> tuple[str, int]:
    """The previous session's summary in the patient's first message, and where it ends in the text; "" where there is none.

    The message begins at `start`, its words may end at `end`. `passed` are the summaries that may have been passed on, the
    likeliest first: a summary can hold lines that look like messages, and only its own text tells where it ends. The draft is
    written up to there.
    """
    label = _LABEL.match(reading.text, start, end)
    led = lead.match(reading.text, label.end(), end) if label and label[1] == "Patient" else None
    if not led:
        return "", start
    first = led.end()
    stop = next((first + len(one) for one in passed if _stands(reading.text, one, first, end)), None)
    if stop is None:
        following = AFTER_BLANK.search(reading.text, first, end)
        stop = following.start(1) if following else end
        if passed:
            reading.remark(first, "the summary in the first message is not the one before it; taken up to the next message")
    reading.draft.text(f"{reading.text[start : label.end()]}" if label else "")
    reading.draft.message(Speaker.PATIENT, led["own"])
    reading.draft.text(led["lead"])
    return _opening(reading, first, stop), stop


def _stands(text: str, passed: str, start: int, end: int) -> bool:
    """Whether a summary stands here, and then a message, or the end."""
    stop = start + len(passed)
    behind = text[stop:end].lstrip("\n")
    return bool(passed) and text.startswith(passed, start) and (not behind or text[stop : stop + 2] == "\n\n")


def _opening(reading: Reading, start: int, stop: int) -> str:
    """Its words without heading and blanks, added to the draft."""
    whole = reading.text[start:stop]
    heading = re.match(r"(?:Session Summary:)?\s*", whole)
    head = heading[0] if heading else ""
    opening = whole[len(head) :].rstrip()
    reading.draft.text(head)
    if opening:
        reading.draft.part("opening")
    reading.draft.text(whole[len(head) + len(opening) :])
    return opening
