"""Messages: where in a published text one begins, by the label of its speaker, and what the
patient's first one brings along.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from cbt_ray.published.remark import Remark, line_of
from cbt_ray.therapy.session import Speaker, Turn

_ROLES = {
    Speaker.PATIENT: ("patient", "client"),
    Speaker.THERAPIST: (
        "therapist",
        "counselor",
        "counsellor",
        *(f"{kind} therapist" for kind in ("ai", "cbt", "ai cbt")),
    ),
}
_UNSEEN = "\ufeff\u200b\u200e\u2060"
"""Characters without width, which programs leave at the start of a text or a line."""
_MARKS = rf"[{_UNSEEN}]*(?:\[[\d:.,]{{1,12}}\] ?)?[*_#>]{{0,4}}"
"""What is before a label: a time, and marks of markdown, as in `**Patient:**`, `### Patient:`."""
_LIKE_A_ROLE = tuple(f" {word}" for words in _ROLES.values() for word in words)
_COLON = "[*_]{0,3}[ \xa0\u202f]?[:\uff1a]"
_OTHER = re.compile(
    rf"(?:\A|\n)[ \t]*{_MARKS} ?([^\W\d_][\w.' "
    rf"-]{{0,40}}?){_COLON}(?:[*_]{{0,3}}(?=\s)|(?<=\uff1a))"
)
"""What may be a label that says somebody else's name."""


@dataclass(frozen=True)
class Labels:
    """How the labels of a text are written, and where one can be: the first of `forms` that finds
    both speakers counts.
    """

    at_blank: re.Pattern[str]
    """After a blank line: where one follows each message, a label at the start of a line inside a
    message is words."""
    at_line: re.Pattern[str]
    """At the start of a line, where a model wrote the whole conversation."""
    anywhere: re.Pattern[str]
    """Inside a line, too, where the whole conversation is one; not the end of a numbered or marked
    line's first words."""
    right_here: re.Pattern[str]

    @classmethod
    @lru_cache(
        maxsize=256
    )  # a chain's files have one patient, and compiling takes longer than reading
    def of(cls, patient: str | None) -> Labels:
        """Labels by role, and by the patient's name, whole or its first word, where it is known."""
        known = [patient.strip(), patient.split()[0]] if patient and patient.strip() else []
        names = {unicodedata.normalize(form, name) for name in known for form in ("NFC", "NFD")} | {
            *known
        }
        groups = [*((speaker.value, words) for speaker, words in _ROLES.items()), ("name", names)]
        who = "|".join(f"(?P<{group}>{_any_of(words)})" for group, words in groups if words)
        label = rf"({_MARKS} ?(?i:{who})(?: ?\([^()\n]{{1,60}}\))?{_COLON}(?:[*_]{{1,3}}(?=\s))?)"
        return cls(
            re.compile(rf"\n\n{label}"),
            re.compile(rf"\n{label}"),
            re.compile(
                r"(?<=\s)(?<!\n[-\u2022] )(?<!\d[.)] "
                rf")(?:(?<=[.!?\n]\s)|(?<=\n)|(?=[*_#>]*[^\W_a-z])){label}"
            ),
            re.compile(rf"[ \t\n]*{label}"),
        )

    @classmethod
    def in_text(cls, reading: Reading, patient: str | None) -> Labels:
        """The labels of a text: the patient's name is one where it labels more lines than the role
        does.

        Or where fewer speak twice in a row with it than without.
        """
        plain, named = cls.of(None), cls.of(patient)
        found = list(named.at_line.finditer(f"\n{reading.text}"))
        by_name = [match for match in found if _is_name(match)]
        if not by_name:  # as in most texts: there is nothing to weigh
            return plain
        by_role = [named.speaker(match) for match in found if not _is_name(match)]
        whole = [named.speaker(match) for match in found]
        if len(by_name) > by_role.count(Speaker.PATIENT) or _doubles(whole) < _doubles(by_role):
            return named
        reading.remark(by_name[0].start(), NAME_INSIDE)
        return plain

    def speaker(self, label: re.Match[str]) -> Speaker:
        """Who a label is."""
        return Speaker.PATIENT if _is_name(label) or label["patient"] else Speaker.THERAPIST


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def _is_name(label: re.Match[str]) -> bool:
    return "name" in label.re.groupindex and label["name"] is not None


def _doubles(speakers: Sequence[Speaker]) -> int:
    return sum(one is two for one, two in pairwise(speakers))


TWICE = "the same speaker twice in a row"
THRICE = "the same speaker three times in a row or more"
INSIDE = "what may be a label is inside a message, taken as words"
NAME_INSIDE = "the patient's name is before a colon as a label would be, taken as words"
EXPECTED_LABELS = (
    "expected messages of both speakers, labelled Patient, Therapist or with the patient's name"
)
NO_THERAPIST = "no therapist turn"
BETWEEN = "\n\n"
"""What the public code writes between two messages."""


@dataclass(frozen=True)
class Message:
    """A speaker's label and what follows it: positions in the text."""

    speaker: Speaker
    start: int
    """Where its label begins."""
    words: int
    """Where its words begin, blanks included."""
    end: int


@dataclass(frozen=True)
class Written:
    """What a transcript says."""

    turns: tuple[Turn, ...]
    opening: str = ""
    summary: str = ""
    stopped: tuple[str, str] | None = None
    """Why it ended, and details, in the words of its file."""


@dataclass
class Reading:
    """A text while it is read."""

    file: str
    text: str
    turns: list[Turn] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def remark(self, position: int, reason: str) -> None:
        """Note something about a place."""
        self.remarks.append(Remark(self.file, line_of(self.text, position), reason))

    def say(self, speaker: Speaker, words: str) -> bool:
        """Take what comes after a speaker's label; answers whether anything is said."""
        said = words.strip()
        if said:
            self.turns.append(Turn(speaker, said))
        return bool(said)

    def stray(self, start: int, end: int) -> None:
        """Note words that nobody says."""
        words = self.text[start:end]
        if words.strip():
            self.remark(
                start + len(words) - len(words.lstrip()),
                "words before the first message, or between messages, that nobody says",
            )

    def written(self, opening: str, summary: str, stopped: tuple[str, str] | None) -> Written:
        """What was read, with what is out of the ordinary about its turns noted."""
        turns = tuple(self.turns)
        if not any(turn.speaker is Speaker.THERAPIST for turn in turns):
            self.remarks.append(Remark(self.file, 0, NO_THERAPIST))
        return Written(turns, opening, summary, stopped)


def messages(
    text: str, labels: Labels, form: re.Pattern[str], start: int, end: int
) -> Iterator[Message]:
    """The messages between two positions, each up to the next one's label.

    One may begin right at the first.
    """
    first = labels.right_here.match(text, start, end)
    found = [
        *([first] if first else []),
        *form.finditer(text, first.end() if first else start, end),
    ]
    ends = [*(match.start(1) for match in found[1:]), end]
    for match, stop in zip(found, ends, strict=False):
        yield Message(labels.speaker(match), match.start(1), match.end(), stop)


def form_of_labels(
    text: str, labels: Labels, forms: Sequence[re.Pattern[str]], start: int, end: int
) -> re.Pattern[str]:
    """Where this text's labels are: the first of `forms` by which both speakers say something, else
    the first.

    Where another finds more than twice as many, the one that finds most: a role play inside a
    message is words, a whole conversation in one is none.
    """
    found = {form: list(messages(text, labels, form, start, end)) for form in forms}
    spoken = {
        form: {one.speaker for one in said if text[one.words : one.end].strip()}
        for form, said in found.items()
    }
    both = [form for form in forms if len(spoken[form]) == len(Speaker)]
    if not both:
        return forms[0]
    most = max(both, key=lambda form: len(found[form]))
    return most if len(found[most]) > 2 * len(found[both[0]]) else both[0]


def note_inside(reading: Reading, labels: Labels, found: Sequence[Message], end: int) -> None:
    """Note each label before `end` that is not taken as one."""
    begun = {message.start for message in found}
    start = found[0].words if found else end
    for match in labels.anywhere.finditer(reading.text, start, end):
        if match.start(1) not in begun:
            reading.remark(match.start(1), INSIDE)


def first_message(text: str, labels: Labels, form: re.Pattern[str], start: int, end: int) -> int:
    """Where the first message begins; `end` where there is none."""
    return next((message.start for message in messages(text, labels, form, start, end)), end)


def note_doubles(reading: Reading, found: Sequence[Message]) -> None:
    """Note where a speaker speaks twice in a row, and apart from it where three times: a label may
    be missing there.
    """
    for before, message in pairwise(found):
        if before.speaker is message.speaker:
            reading.remark(message.start, TWICE)
    for one, two, three in zip(found, found[1:], found[2:], strict=False):
        if one.speaker is two.speaker is three.speaker:
            reading.remark(three.start, THRICE)


def must_be_told_apart(
    reading: Reading,
    labels: Labels,
    found: Sequence[Message],
    start: int,
    end: int,
    *,
    failed: bool = False,
) -> None:
    """Note that the session is lost where a speaker says nothing, or where somebody unknown is
    labelled like a speaker.

    `failed`: its file says why it ended, so that the therapist may have said nothing.
    """
    spoken = {turn.speaker for turn in reading.turns}
    named = _unknown(reading.text, labels, start, end)
    if len(spoken) == len(Speaker):
        named = _like_speakers(reading.text, labels, found, named)
    name, count = named.most_common(1)[0] if named else ("", 0)
    alone = len(spoken) < len(Speaker) and not (failed and Speaker.PATIENT in spoken)
    if alone or count > 1:
        only = f"found the {next(iter(spoken))} alone" if len(spoken) == 1 else "found no label"
        said = f"found {name!r} {count} time{'' if count == 1 else 's'}" if count else only
        reading.remarks.append(Remark(reading.file, 0, f"{EXPECTED_LABELS}, {said}", lost=True))


def _unknown(text: str, labels: Labels, start: int, end: int) -> Counter[str]:
    """What may be labels of others, and how often."""
    names = (match[1] for match in _OTHER.finditer(text, start, end))
    return Counter(name for name in names if not labels.right_here.fullmatch(f"{name}:"))


def _like_speakers(
    text: str, labels: Labels, found: Sequence[Message], named: Counter[str]
) -> Counter[str]:
    """Of these names those that end in a role, or begin what somebody says between two messages of
    the same speaker.
    """
    between: Counter[str] = Counter()
    for before, message in pairwise(found):
        if before.speaker is message.speaker:
            between += _unknown(text, labels, before.words, message.start)
    return Counter(
        {
            name: count
            for name, count in named.items()
            if name.casefold().endswith(_LIKE_A_ROLE)
            or (between[name] == count and f"\n\n{name}: " in text)
        }
    )


def read_opening(
    reading: Reading,
    labels: Labels,
    start: int,
    end: int,
    lead: re.Pattern[str],
    passed: Sequence[str],
) -> tuple[str, int]:
    """The previous session's summary in the patient's first message, and where it ends in the text.

    "" where there is none.

    The message begins at `start`, its words may end at `end`. `passed` are the summaries that may
    have been passed on, the likeliest first: a summary can hold lines that look like messages, and
    only its own text tells where it ends. What the patient says before it is taken.
    """
    label = labels.right_here.match(reading.text, start, end)
    patient = label is not None and labels.speaker(label) is Speaker.PATIENT
    led = lead.match(reading.text, label.end(), end) if label and patient else None
    if not led:
        return "", start
    first = led.end()
    stop = next(
        (first + len(one) for one in passed if _stands(reading.text, one, first, end)), None
    )
    if stop is None:
        following = labels.at_blank.search(reading.text, first, end)
        stop = following.start(1) if following else end
        if passed:
            reading.remark(
                first,
                "the summary in the first message is not the one before it; taken up to the next "
                "message",
            )
    reading.say(Speaker.PATIENT, led["own"])
    return re.sub(r"^(?:Session Summary:)?\s*", "", reading.text[first:stop]).rstrip(), stop


def _stands(text: str, passed: str, start: int, end: int) -> bool:
    """Whether a summary stands here, and then a message, or the end."""
    stop = start + len(passed)
    behind = text[stop:end].lstrip("\n")
    return (
        bool(passed)
        and text.startswith(passed, start)
        and (not behind or text[stop : stop + 2] == "\n\n")
    )
