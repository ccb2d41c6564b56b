"""A simulated session as the public code of arXiv 2412.00251 wrote it: one text file.

    Session Number: 2

    Patient: Hi, I'm ... This is my 2 CBT session. Last time we talked about: Session Summary:

    <the summary of session 1>

    Therapist: ...

    ****Session Terminated: Turn Limit Exceeded - Turn count: 51/50****      only at a limit

    Termination Details:
    Reason: Natural Session End
    Details: Detected end phrase: '...'


    Session Summary:

    <the summary of this session>

Each message is followed by a blank line. A session that failed ends after its details, without a
summary, and passes an error text on; one that reached 5000 words on the therapist's turn has no
termination details.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.count import many
from cbt_ray.published.cbt.messages import (
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
from cbt_ray.therapy.session import Speaker, Turn
from cbt_ray.therapy.stop import StopReason

MOST_WORDS = 5000
FAILED = "Critical Error"
_HEAD = re.compile(r"Session Number: (\d+)\n\n")
_LEAD = re.compile(r"(?P<own>[^\n]*?)(?P<lead> ?Last time we talked about: )")
_LIMIT = re.compile(r"(?:\*{4}Session Terminated: [^\n]*\*{4}\n)+\n?\Z")
_STOPPED = re.compile(
    r"Termination Details:\nReason: (?P<reason>[^\n]*)\nDetails: (?P<details>.*?)(?=\n\n\nSession "
    r"Summary:\n|\n*\Z)",
    re.DOTALL,
)
_SUMMARY = re.compile(r"\n+[*_#]{0,4} ?Session Summary[*_]{0,3}:[*_]{0,3}[ \t]*\n+")
_COUNT = re.compile(r"Turn count: (\d+)/\d+")
_REASONS = {
    "Natural Session End": StopReason.FAREWELL,
    "Turn Limit Exceeded": StopReason.MAX_MESSAGES,
    "Word Limit Exceeded": StopReason.MAX_WORDS,
}


@dataclass(frozen=True)
class Simulated:
    """A session that was read."""

    number: int | None
    """As its first line says."""
    written: Written
    stop: StopReason
    passed: str
    """What the next session was told of it."""
    remarks: tuple[Remark, ...]


def read_simulated(
    file: str, text: str, passed: Sequence[str] = (), patient: str | None = None
) -> Simulated:
    """Read a session; `passed` is what earlier sessions of its chain passed on, the last one first.

    The patient's messages may be labelled with `patient`, its name. A remark that is `lost` says
    that it could not be read.
    """
    reading = Reading(file, text)
    labels = Labels.in_text(reading, patient)
    head = _HEAD.match(text)
    if not head:
        reading.remark(0, "expected the line `Session Number: ...` first")
    tail = _tail(text, labels, head.end() if head else 0)
    body = _LIMIT.search(text, 0, tail)
    end = body.start() if body else tail
    start = head.end() if head else 0
    opening, found = _talk(reading, labels, start, end, passed)
    stopped, summary = _ending(text, tail)
    if not stopped and not summary:
        reading.remark(len(text.rstrip()), "ends without termination details and summary")
    _count(reading, text[end:])
    must_be_told_apart(reading, labels, found, start, end, failed=stopped is not None)
    written = reading.written(opening, summary, stopped)
    return Simulated(
        int(head[1]) if head else None,
        written,
        stop_of(stopped, written.turns, opening),
        _passed_on(stopped, summary),
        tuple(reading.remarks),
    )


def stop_of(
    stopped: tuple[str, str] | None, turns: Sequence[Turn], opening: str = ""
) -> StopReason:
    """Our word for why it ended. The published code counted the opening's words, too.

    A failure after a patient's turn is the therapist's, which answered with nothing of use ten
    times; any other is none of ours.
    """
    if stopped is None:
        words = sum(len(turn.text.split()) for turn in turns) + len(opening.split())
        return StopReason.MAX_WORDS if words >= MOST_WORDS else StopReason.OTHER
    if stopped[0] == FAILED and turns and turns[-1].speaker is Speaker.PATIENT:
        return (
            StopReason.CONTEXT_FULL
            if "context window" in stopped[1]
            else StopReason.THERAPIST_EMPTY
        )
    return _REASONS.get(stopped[0], StopReason.OTHER)


def _tail(text: str, labels: Labels, start: int) -> int:
    """Where the conversation ends: before the details of its end, or before the summary where there
    are none.
    """
    found = text.rfind("\nTermination Details:\nReason: ")
    if found >= 0:
        return found
    bare = text.rfind("\n\n\nSession Summary:\n\n")
    if bare >= 0:
        return bare + 2
    # a text that the public code did not write: nobody speaks after the summary
    last = next(
        (
            match
            for match in reversed(list(_SUMMARY.finditer(text, start)))
            if match[0].startswith("\n\n")
        ),
        None,
    )
    if last is None:
        return len(text)
    form = form_of_labels(text, labels, (labels.at_blank, labels.at_line), start, last.start())
    spoken = not labels.right_here.match(text, last.end()) and form.search(text, last.end())
    return len(text) if spoken else last.start() + 1


def _talk(
    reading: Reading, labels: Labels, start: int, end: int, passed: Sequence[str]
) -> tuple[str, list[Message]]:
    """The summary that the first message brings along, and the messages after it."""
    begin = first_message(reading.text, labels, labels.at_blank, start, end)
    reading.stray(start, begin)
    opening, rest = read_opening(reading, labels, begin, end, _LEAD, passed)
    forms = (labels.at_blank, labels.at_line, labels.anywhere)
    form = form_of_labels(reading.text, labels, forms, rest, end)
    found = list(messages(reading.text, labels, form, rest, end))
    behind = found[0].start if found else end
    reading.stray(rest, behind)
    led = [Message(Speaker.PATIENT, begin, begin, rest)] if rest > begin else []
    note_doubles(reading, [*led, *found])
    note_inside(reading, labels, found, end)
    for message in found:
        if not reading.say(message.speaker, reading.text[message.words : message.end]):
            reading.remark(message.start, "an empty message")
    return opening, found


def _ending(text: str, tail: int) -> tuple[tuple[str, str] | None, str]:
    """The reason of the end and the summary."""
    stopped, place = None, tail
    details = _STOPPED.search(text, tail)
    if details:
        stopped = (details["reason"], details["details"])
        place = details.end()
    heading = _SUMMARY.match(text, place)
    return stopped, text[heading.end() :].strip() if heading else ""


def _passed_on(stopped: tuple[str, str] | None, summary: str) -> str:
    if stopped and stopped[0] == FAILED:
        return f"Session terminated due to error: {stopped[1]}"
    return f"Session Summary:\n\n{summary}" if summary else ""


def _count(reading: Reading, ending: str) -> None:
    """Compare the number of turns with the one that the file names, where it does."""
    said = _COUNT.search(ending)
    if said and int(said[1]) != len(reading.turns):
        reading.remarks.append(
            Remark(
                reading.file,
                0,
                f"it says {many(int(said[1]), 'message')}, found {len(reading.turns)}",
            )
        )
