"""A session as the public code of arXiv 2509.09712 wrote it: one text file.

    --- Turn 0 (Patient Initiation) ---
    Patient: ...


    --- Turn 1 ---

    --- [SYSTEM INJECTION at Turn 1]: [System Note: ...] ---      in some, told to the patient

    Therapist Thinking:                                            or `Therapist: ...` alone
    ...

    Therapist Answer:
    ...

    Patient: ...

It has 25 exchanges after the patient's first message. Where the therapist's model gave no answer,
or the engine or a provider failed, the session ends there with a note in the place of the words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cbt_ray.published.remark import Remark
from cbt_ray.therapy.session import Speaker, Turn
from cbt_ray.therapy.stop import StopReason

MESSAGES = 51
"""Of a session that was held to its end."""
TOLD = "an event that only the patient learnt of is no turn"
NOTE_READ = "a note in the place of the therapist's words, which its judge read, is no turn"
THINKING = "thinking"
"""The hidden part of a reply."""
NO_ANSWER = "no_answer"
_HEADING = re.compile(r"^--- Turn (\d+)(?: \(Patient Initiation\))? ---\n", re.MULTILINE)
_EVENT = re.compile(r"\s*--- \[SYSTEM INJECTION at Turn \d+\]: (.*?) ---\n\n", re.DOTALL)
_REASONED = re.compile(r"Therapist Thinking:\n(?P<thinking>.*?)\n\nTherapist Answer:\n", re.DOTALL)
_PATIENT, _THERAPIST = "Patient: ", "Therapist: "
_BETWEEN = "\n\n" + _PATIENT
_MISSED = {
    "[Thinking and Answer keywords missing]": "no_form",
    "[Thinking not properly formatted or missing]": "no_thinking",
    "[Thinking part not extractable]": "empty_thinking",
}
_UNASKED = (
    "[Model is answer-only, no thinking part generated.]",
    "[Thinking part is not generated with this prompt]",
)
_UNANSWERED = "[Answer not properly formatted or missing]"
_FAILED = re.compile(
    r"\[[^\n\]]{1,60} (?:Therapist (?:generation error: .*|failed to generate a response)"
    r"|Patient generation error: .*)\]|\[ERROR: Patient model failed .*\]",
    re.DOTALL,
)
_ENDS = {
    "longer than the maximum model length": StopReason.CONTEXT_FULL,
    "response text is empty": StopReason.THERAPIST_EMPTY,
    "failed to generate a response": StopReason.THERAPIST_EMPTY,
}


@dataclass(frozen=True)
class Simulated:
    """A session that was read."""

    turns: tuple[Turn, ...]
    stop: StopReason
    details: str
    """The note that it ended with, if any."""
    missed: tuple[str, ...]
    """How replies missed their form, as the public code marked them: an answer that is missing, and
    errors of the engine, too, which are no turns."""
    events: tuple[str, ...]
    """What the patient was told between two messages."""
    judged: str
    """The dialogue as the public code gave it to its judge."""
    remarks: tuple[Remark, ...]


@dataclass
class _Reading:
    file: str
    text: str
    turns: list[Turn] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    details: str = ""

    @cached_property
    def ends(self) -> list[int]:
        """Where lines end."""
        return [end.start() for end in re.finditer("\n", self.text)]

    def remark(self, position: int, reason: str, *, lost: bool = False) -> None:
        line = bisect_left(self.ends, position) + 1
        self.remarks.append(Remark(self.file, line, reason, lost))

    def say(self, turn: Turn, position: int) -> None:
        """Add a turn, but for a note in the place of words, which ends the session."""
        name = _PATIENT if turn.speaker is Speaker.PATIENT else _THERAPIST
        self.judged.append(f"{name}{turn.text}")
        if turn.missed:
            self.missed.append(turn.missed)
        if turn.missed == NO_ANSWER or _FAILED.fullmatch(turn.text) or not turn.text:
            self.details = turn.text or "an empty message"
            self.remark(position, NOTE_READ)
        else:
            self.turns.append(turn)


def read_transcript(file: str, text: str) -> Simulated:
    """Read a session. A remark that is `lost` says that it could not be read."""
    reading = _Reading(file, text)
    blocks = list(_blocks(reading))
    for number, (start, end) in enumerate(blocks):
        if number == 0:
            _first(reading, start, end)
        else:
            _exchange(reading, number, start, end)
    if not any(turn.speaker is Speaker.THERAPIST for turn in reading.turns):
        reading.remark(0, "the therapist says nothing", lost=True)
    return Simulated(
        tuple(reading.turns),
        _stop(reading),
        reading.details,
        tuple(reading.missed),
        tuple(reading.events),
        "\n\n".join(reading.judged),
        tuple(reading.remarks),
    )


def _blocks(reading: _Reading) -> Iterator[tuple[int, int]]:
    """Where the words of each turn number stand; a heading with an earlier number is words."""
    found: list[re.Match[str]] = []
    for heading in _HEADING.finditer(reading.text):
        number = int(heading[1])
        if number == len(found):
            found.append(heading)
        elif number > len(found):
            said = f"expected turn {len(found)} next, found turn {number}"
            reading.remark(heading.start(), said, lost=True)
            break
        else:
            reading.remark(heading.start(), "what may be a turn's heading is taken as words")
    if not found and not reading.remarks:
        reading.remark(0, "expected `--- Turn 0 (Patient Initiation) ---`", lost=True)
    ends = [*(heading.start() for heading in found[1:]), len(reading.text)]
    yield from ((heading.end(), end) for heading, end in zip(found, ends, strict=False))


def _first(reading: _Reading, start: int, end: int) -> None:
    if not reading.text.startswith(_PATIENT, start, end):
        reading.remark(start, "expected the patient's first message, `Patient: ...`", lost=True)
        return
    words = reading.text[start + len(_PATIENT) : end].strip()
    reading.say(Turn(Speaker.PATIENT, words), start)


def _exchange(reading: _Reading, number: int, start: int, end: int) -> None:
    """A therapist's reply, and what the patient said to it."""
    text = reading.text
    while event := _EVENT.match(text, start, end):
        reading.events.append(event[1])
        reading.remark(event.start(), TOLD)
        start = event.end()
    reasoned = _REASONED.match(text, start, end)
    begin = reasoned.end() if reasoned else start + len(_THERAPIST)
    if not reasoned and not text.startswith(_THERAPIST, start, end):
        said = f"turn {number}: expected `Therapist: ` or `Therapist Thinking:`"
        reading.remark(start, said, lost=True)
        return
    if text.count(_BETWEEN, begin, end) > 1:
        reading.remark(begin, "`Patient:` inside a message, taken as words")
    middle = text.rfind(_BETWEEN, begin - 2, end)
    words = text[begin : end if middle < 0 else middle].strip()
    reading.say(_reply(words, reasoned["thinking"].strip() if reasoned else ""), begin)
    if middle >= 0:
        said = text[middle + len(_BETWEEN) : end].strip()
        reading.say(Turn(Speaker.PATIENT, said), middle + 2)


def _reply(words: str, thinking: str) -> Turn:
    """The therapist's turn; its text is the note in the place of an answer where there is none."""
    missed = NO_ANSWER if words == _UNANSWERED else _MISSED.get(thinking)
    own = bool(thinking) and thinking not in (*_MISSED, *_UNASKED)
    hidden = ((THINKING, thinking),) if own else ()
    return Turn(Speaker.THERAPIST, words, hidden, missed)


def _stop(reading: _Reading) -> StopReason:
    if reading.details:
        known = (stop for words, stop in _ENDS.items() if words in reading.details)
        unanswered = reading.details in (_UNANSWERED, "an empty message")
        return next(known, StopReason.THERAPIST_EMPTY if unanswered else StopReason.OTHER)
    if len(reading.turns) >= MESSAGES:
        return StopReason.MAX_MESSAGES
    reading.remark(len(reading.text), f"ends before {MESSAGES} messages and does not say why")
    return StopReason.OTHER


def same_words(one: str, other: str) -> bool:
    """Whether two texts are the same but for blanks."""
    return one.split() == other.split()


def failures(missed: Sequence[str], details: str) -> int:
    """How many of the misses that the public code marked are an error and no reply."""
    return int(bool(missed) and bool(_FAILED.fullmatch(details)) and missed[-1] == "no_form")
