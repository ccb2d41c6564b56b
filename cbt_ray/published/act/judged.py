"""What the judge wrote of a session: two forms with a number for each item.

    Output Form: ACT Fidelity Measure (ACT-FM)
    item_1: Rating: 2

Titles may be lacking or written in other ways, and so may the word `Rating`: a form begins with its
title, or where the numbers begin anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cbt_ray.published.remark import Remark


@dataclass(frozen=True)
class Form:
    """A form of the judge's."""

    scale: str
    """The scale that it is here."""
    title: re.Pattern[str]
    items: int
    lowest: int
    highest: int
    column: str
    """How its columns begin in the published table."""

    def item(self, number: int) -> str:
        """An item's name, as imported ratings have it."""
        return f"{self.scale}.item_{number}"


FORMS = (
    Form("act-fm", re.compile(r"\bACT[ -]F(?:M|idelity)\b", re.IGNORECASE), 25, 0, 3, "act_fm"),
    Form("tes", re.compile(r"\bTES\b|\b(?i:Therapist Empathy)\b"), 9, 1, 7, "tes"),
)
TWO_SCORES, OUT_OF_SCALE, NO_NUMBER = "two_scores", "out_of_scale", "no_number"
_MARKS = str.maketrans(dict.fromkeys("*#`>|", " "))
_ITEM = re.compile(r"(?:[-•] *)?item[ _]?(\d{1,3})\b(.*)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:^|[:=\s])(\d{1,3})(?: */ *\d+)?[ .]*$")
_RATED = re.compile(r"Rating *: *(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Judged:
    """A judge's text that was read."""

    file: str
    scores: Mapping[str, int]
    """Item -> score."""
    reasons: Mapping[str, str]
    """Item -> why it has none, where there is more to say than that it is absent."""
    begins: Mapping[str, int]
    """Scale -> the line on which its form begins."""
    remarks: tuple[Remark, ...]

    @property
    def line(self) -> int:
        """Where its first form begins."""
        return min(self.begins.values(), default=1)


@dataclass
class _Reading:
    file: str
    scores: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    begins: dict[str, int] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    form: Form | None = None
    last: int = 0
    """The last item's number in this form."""
    waits: int | None = None
    """The item whose number is to follow on a line of its own."""

    def begin(self, form: Form, line: int) -> None:
        self.form, self.last, self.waits = form, 0, None
        self.begins.setdefault(form.scale, line)

    def item(self, number: int, rest: str, line: int) -> None:
        """An item's line; a number that begins anew begins the other form."""
        if self.form is None or (number == 1 and self.last):
            other = FORMS[1] if self.form is FORMS[0] else FORMS[0]
            self.begin(other, line)
        self.last, self.waits = number, number
        self.number(rest, line)

    def number(self, text: str, line: int) -> None:
        """The number of the item that waits for one, if it stands here."""
        found = _NUMBER.search(text.strip())
        if found and self.form and self.waits is not None:
            self._score(self.form, self.waits, int(found[1]), line)
            self.waits = None

    def _score(self, form: Form, number: int, score: int, line: int) -> None:
        name = form.item(number)
        if not 1 <= number <= form.items:
            self.remark(line, f"{form.scale} has no item {number}")
        elif not form.lowest <= score <= form.highest:
            expected = f"{form.lowest} to {form.highest}"
            self._without(name, OUT_OF_SCALE, line, f"expected {expected}, found {score}")
        elif self.scores.get(name, score) != score or name in self.reasons:
            self._without(name, TWO_SCORES, line, "has two scores, neither of which counts")
        else:
            self.scores[name] = score

    def _without(self, name: str, reason: str, line: int, said: str) -> None:
        self.scores.pop(name, None)
        self.reasons[name] = reason
        self.remark(line, f"{name}: {said}")

    def remark(self, line: int, reason: str, *, lost: bool = False) -> None:
        self.remarks.append(Remark(self.file, line, reason, lost))


def read_judged(file: str, text: str) -> Judged:
    """Read a judge's text. A remark that is `lost` says that it holds no ratings."""
    reading = _Reading(file)
    for line, words in enumerate(text.split("\n"), 1):
        _line(reading, " ".join(words.translate(_MARKS).split()), line)
    for form in FORMS:
        lacking = _lacking(reading, form)
        if lacking and reading.scores:
            reading.remark(0, f"{form.scale}: no score of {_listed(lacking)}")
    if not reading.scores:
        reading.remark(0, "expected lines such as `item_1: Rating: 2`, found none", lost=True)
    return Judged(file, reading.scores, reading.reasons, reading.begins, tuple(reading.remarks))


def _line(reading: _Reading, words: str, line: int) -> None:
    item, rated = _ITEM.match(words), _RATED.match(words)
    if item:
        reading.item(int(item[1]), item[2], line)
    elif rated:
        reading.number(rated[1], line)
    elif words and not words.startswith("</"):
        plain = words.replace("_", " ")
        titled = next((form for form in FORMS if form.title.search(plain)), None)
        if titled:
            reading.begin(titled, line)


def _lacking(reading: _Reading, form: Form) -> list[int]:
    """Items that the text says nothing of."""
    known = {*reading.scores, *reading.reasons}
    return [number for number in range(1, form.items + 1) if form.item(number) not in known]


def _listed(numbers: list[int]) -> str:
    return f"item{'s' if numbers[1:] else ''} {', '.join(map(str, numbers))}"
