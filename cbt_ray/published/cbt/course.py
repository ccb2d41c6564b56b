"""A session of a synthetic course as the public code of arXiv 2412.00251 wrote it: the `transcript`
of a JSON file.

    Patient: Hi, I'm back for session 2. Here is the summary you provided me at the end of our last
    session:

    <the summary of session 1>

    Therapist: ...

    Session Summary:
    - ...

A model wrote it in four parts, which the code joined: a speaker can speak twice in a row where
parts meet, a part can begin with a heading of its own, and the summary can stand inside the last
therapist's message, after the patient's, or before a few more messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cbt_ray.published.cbt.messages import (
    BETWEEN,
    Labels,
    Message,
    Reading,
    Written,
    first_message,
    form_of_labels,
    messages,
    must_be_told_apart,
    note_doubles,
    note_inside,
    read_opening,
)
from cbt_ray.published.remark import Remark
from cbt_ray.therapy.session import Speaker

_LEAD = re.compile(
    r"(?P<own>[^\n]*?)(?P<lead> ?Here is the summary you provided me at the end of our last "
    r"session:\s*)"
)
_HEADING = re.compile(
    r"(?:(?<=\n)[*_#]{1,4} ?)?[Ss](?:ession|ESSION) "
    r"[Ss](?:ummary|UMMARY)[*_]{0,3}:(?:[*_]{1,3}(?=\s))?[ \t]*"
)
_PART = re.compile(r"\s*(?:here is|here's) part [1-4]\b", re.IGNORECASE)
_PASSED = re.compile(r"[Ss](?i:ession summary:)")
_PASSED_END = re.compile(r"\n\n(?i:therapist:)")


@dataclass(frozen=True)
class Synthetic:
    """A session that was read."""

    written: Written
    passed: str
    """What the next session was told of it."""
    remarks: tuple[Remark, ...]


def read_course_session(
    file: str, text: str, passed: Sequence[str] = (), patient: str | None = None
) -> Synthetic:
    """Read a session.

    `passed` is what earlier sessions of the course passed on, the last one first.

    The patient's messages may be labelled with `patient`, its name. A remark that is `lost` says
    that it could not be read.
    """
    reading = Reading(file, text)
    labels = Labels.in_text(reading, patient)
    begin = first_message(text, labels, labels.at_line, 0, len(text))
    reading.stray(0, begin)
    opening, rest = read_opening(reading, labels, begin, len(text), _LEAD, passed)
    form = form_of_labels(text, labels, (labels.at_line, labels.anywhere), rest, len(text))
    found = list(_messages(text, labels, form, rest))
    reading.stray(rest, found[0].start if found else len(text))
    led = [Message(Speaker.PATIENT, begin, begin, rest)] if rest > begin else []
    note_doubles(reading, [*led, *found])
    last = next(
        (number for number in reversed(range(len(found))) if _heading(text, found[number])), None
    )
    heading = _heading(text, found[last]) if last is not None else None
    note_inside(reading, labels, found, heading.start() if heading else len(text))
    summary = ""
    for number, message in enumerate(found):
        if number == last:
            summary = _with_summary(reading, message)
        else:
            _message(reading, message)
    must_be_told_apart(reading, labels, found, 0, len(text))
    if not summary:
        reading.remarks.append(Remark(file, 0, "no session summary"))
    return Synthetic(
        reading.written(opening, summary, None), passed_on(text), tuple(reading.remarks)
    )


def passed_on(text: str) -> str:
    """What the public code passes on to the next session: up to the therapist's next message,
    whatever stands before.
    """
    heading = _PASSED.search(text)
    if not heading:
        return ""
    end = _PASSED_END.search(text, heading.end())
    return text[heading.end() : end.start() if end else len(text)].strip()


def _messages(text: str, labels: Labels, form: re.Pattern[str], start: int) -> Iterator[Message]:
    """Messages by their labels.

    After a summary's heading only where a blank line is before the label.
    """
    begun: Message | None = None
    for message in messages(text, labels, form, start, len(text)):
        if begun and _heading(text, begun) and not text.endswith(BETWEEN, 0, message.start):
            begun = Message(begun.speaker, begun.start, begun.words, message.end)
            continue
        if begun:
            yield begun
        begun = message
    if begun:
        yield begun


def _heading(text: str, message: Message) -> re.Match[str] | None:
    """The heading of the summary in a message: at the start of a line if there is one there, the
    last one.
    """
    if not any(text.find(word, message.words, message.end) >= 0 for word in ("ummary", "UMMARY")):
        return None  # most of them, at once
    found = list(_HEADING.finditer(text, message.words, message.end))
    alone = [
        match
        for match in found
        if not text[text.rfind("\n", 0, match.start()) + 1 : match.start()].strip()
    ]
    return next(reversed(alone or found), None)


def _with_summary(reading: Reading, message: Message) -> str:
    """The message that holds the summary: what is said before it is a turn, what comes after the
    heading no part of it.
    """
    text = reading.text
    heading = _heading(text, message)
    if heading is None:
        return ""
    reading.say(message.speaker, text[message.words : heading.start()])
    return text[heading.end() : message.end].strip()


def _message(reading: Reading, message: Message) -> None:
    words = reading.text[message.words : message.end]
    last = words.rstrip().rfind("\n")
    end = last if last >= 0 and _PART.match(words, last) else len(words)
    if not reading.say(message.speaker, words[:end]):
        reading.remark(message.start, "an empty message")
    reading.stray(message.words + end, message.end)
