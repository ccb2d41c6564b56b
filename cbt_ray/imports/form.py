"""The form of a published transcript: in which order its parts stand in the text, so that the same
text can be written again.

A form holds no words of the session but what is no part of it: headings, blank lines, a lead-in, an
asterisked line. The turns, the two summaries and the reason of the end are taken from the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.errors import InputError
from cbt_ray.therapy.session import Speaker, Turn

Part = list[str | int]
"""["text", words] as they stand; ["turns", first, last] with their speakers, a blank line between
them; ["said", n], a turn's
words alone; ["opening"], ["summary"], ["stopped"]."""
BETWEEN = "\n\n"
STOPPED = "Termination Details:\nReason: {}\nDetails: {}"


@dataclass(frozen=True)
class Written:
    """A transcript's parts with its form: everything that stands in its text."""

    turns: tuple[Turn, ...]
    form: tuple[Part, ...]
    opening: str = ""
    summary: str = ""
    stopped: tuple[str, str] | None = None
    """Why it ended, and details, in the words of its file."""

    def text(self) -> str:
        """The text that it was read from. Raises InputError where the form does not fit."""
        try:
            return "".join(self._part(part) for part in self.form)
        except (IndexError, KeyError, TypeError, ValueError):
            raise InputError("expected a form that fits its turns") from None

    def _part(self, part: Part) -> str:
        kind, *rest = part
        if kind == "text":
            return str(rest[0])
        if kind == "turns":
            first, last = (int(number) for number in rest)
            return BETWEEN.join(_labelled(turn) for turn in self.turns[first : last + 1])
        if kind == "said":
            return self.turns[int(rest[0])].text
        if kind == "stopped" and self.stopped:
            return STOPPED.format(*self.stopped)
        return {"opening": self.opening, "summary": self.summary}[str(kind)]


class Draft:
    """A form while a text is read from its beginning to its end: each piece is added once, in
    order.
    """

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._parts: list[Part] = []

    def text(self, words: str) -> None:
        """Words that are no part of the session."""
        if not words:
            return
        if self._parts and self._parts[-1][0] == "text":
            self._parts[-1] = ["text", str(self._parts[-1][1]) + words]
        else:
            self._parts.append(["text", words])

    def part(self, kind: str) -> None:
        """The opening, the summary or the reason of the end."""
        self._parts.append([kind])

    def message(self, speaker: Speaker, words: str) -> bool:
        """What comes after a speaker's label: a turn with the blanks around it, or blanks alone.

        Answers whether it was one.
        """
        said = words.strip()
        if not said:
            self.text(words)
            return False
        lead = words[: len(words) - len(words.lstrip())]
        self.text(lead)
        self.turns.append(Turn(speaker, said))
        self._parts.append(["said", len(self.turns) - 1])
        self.text(words[len(lead) + len(said) :])
        return True

    def form(self) -> tuple[Part, ...]:
        """The finished form: a label and what is said become one part, and turns with a blank line
        between them a run.
        """
        found: list[Part] = []
        for part in self._parts:
            if part[0] == "said":
                self._with_label(found, int(part[1]))
            else:
                found.append(part)
        return tuple(found)

    def _with_label(self, found: list[Part], number: int) -> None:
        label = f"{self.turns[number].speaker.capitalize()}: "
        before = str(found[-1][1]) if found and found[-1][0] == "text" else ""
        if not before.endswith(label):
            found.append(["said", number])
            return
        rest = before.removesuffix(label)
        run = found[-2] if len(found) > 1 else [""]
        if rest == BETWEEN and run[0] == "turns" and run[2] == number - 1:
            found[-2:] = [["turns", run[1], number]]
            return
        found.pop()
        if rest:
            found.append(["text", rest])
        found.append(["turns", number, number])


def _labelled(turn: Turn) -> str:
    return f"{turn.speaker.capitalize()}: {turn.text}"


def form_of(parts: Sequence[Sequence[str | int]]) -> tuple[Part, ...]:
    """A form as it stands in a unit."""
    return tuple(list(part) for part in parts)
