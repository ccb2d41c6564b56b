"""Forms: the parts that a therapist's reply is made of, of which the patient hears some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cbt_ray.study.block import Block, Chars, Name, Phrase, refuse_all, twice

PROMPT = "therapist.j2"
"""The therapist's system prompt where neither arm nor form has one."""
MOST_ENTRIES = 100


def _one_line(value: str) -> str:
    if len(value.splitlines()) != 1 or value != value.strip():
        raise ValueError("expected one line without blanks around it")
    return value


Line = Annotated[Phrase, Field(max_length=60), AfterValidator(_one_line)]


class Option(Block):
    """One of the values that a field of a list has; a bare text is its description."""

    bare = "description"
    description: Phrase
    """What it is; prompts show it."""
    strategy: Phrase | None = None
    """What helps against it; prompts show it."""


class FormField(Block):
    """A field of each entry of a list."""

    name: Name
    """In the reply, in tables and exports."""
    label: Line | None = None
    """What the patient reads before it; none: nothing."""
    one_of: Mapping[Line, Option] = {}
    """Its values, each with its description; none: any text."""
    quoted: bool = False
    """Whether it quotes what the patient said.

    A course's reply with another quotation is asked for anew; of a session `count: quoted` says how
    often it is one.
    """
    chars: Chars = (1, 600)
    """Shortest and longest text in characters, where it is free."""

    @model_validator(mode="after")
    def _fits(self) -> FormField:
        if self.one_of and self.quoted:
            raise ValueError("quoted: expected none of a field with `one_of`")
        folded = twice(value.casefold() for value in self.one_of)
        if folded is not None:
            raise ValueError(f"one_of: expected each once, found {folded!r} twice")
        return self


class FormPart(Block):
    """A part of a reply, from its label to the next one, or a field of a JSON object."""

    name: Name
    """In tables and exports; in the reply with `written: json`."""
    label: Line | None = None
    """What it begins with, at the start of a line: `Answer:`.

    Upper and lower case are the same. With `written: json` it has none.
    """
    shown: bool = False
    """Whether the patient reads it.

    What is not is kept and shown in the report on request; no other model reads it, nor does the
    therapist in a later turn.
    """
    chars: Chars = (1, 2000)
    """Shortest and longest text in characters, with `written: json`."""
    entries: tuple[int, int] | None = None
    """Fewest and most entries of a list; none: it is a text.

    With `written: json`.
    """
    fields: Annotated[tuple[FormField, ...], Field(max_length=20)] = ()
    """What each entry of the list has."""

    @model_validator(mode="after")
    def _fits(self) -> FormPart:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        if (self.entries is None) == bool(self.fields):
            yield "fields: expected some with `entries`, and none without"
        if self.entries and not 0 <= self.entries[0] <= self.entries[1] <= MOST_ENTRIES:
            yield (
                f"entries: expected [fewest, most] with 0 <= fewest <= most <= {MOST_ENTRIES}, "
                f"found {list(self.entries)}"
            )
        again = twice(field.name for field in self.fields)
        if again is not None:
            yield f"fields: expected each name once, found {again!r} twice"


class Form(Block):
    """How a therapist replies, and the prompt that asks for it, in training and simulation alike.

    A reply that misses the form is no error: it is counted, turn by turn.
    """

    prompt: str = PROMPT
    """The therapist's system prompt, a file of the prompt folder."""
    written: Literal["labels", "json"] = "labels"
    """Parts after their labels, or one JSON object with a field a part.

    JSON is demanded of endpoints that can be held to it. The patient reads its texts.
    """
    parts: Annotated[tuple[FormPart, ...], Field(max_length=20)] = ()
    """In this order. Without any the patient reads the whole reply."""

    @model_validator(mode="after")
    def _fits(self) -> Form:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        again = twice(part.name for part in self.parts)
        if again is not None:
            yield f"parts: expected each name once, found {again!r} twice"
        if self.parts and not any(part.shown for part in self.parts):
            yield "parts: expected one with `shown: true`, or the patient would hear nothing"
        taken = [part.name for part in self.parts if part.name in (REASONING, AS_WRITTEN)]
        if taken:
            yield f"parts: expected another name than {taken[0]}, which cbt-ray uses itself"
        yield from self._of_labels() if self.written == "labels" else self._of_json()

    def _of_labels(self) -> Iterator[str]:
        for number, part in enumerate(self.parts):
            if part.label is None:
                yield f"parts.{number}.label: expected one with `written: labels`"
            if part.entries is not None:
                yield f"parts.{number}.entries: expected none but with `written: json`"
        again = twice(part.label.casefold() for part in self.parts if part.label)
        if again is not None:
            yield f"parts: expected each label once, found {again!r} twice"

    def _of_json(self) -> Iterator[str]:
        if not self.parts:
            yield "parts: expected some with `written: json`"
        for number, part in enumerate(self.parts):
            if part.label is not None:
                yield f"parts.{number}.label: expected none with `written: json`"

    def field(self, path: str) -> FormField | None:
        """A list's field by the part's name and its own, `part.field`; None where there is none."""
        name, _, own = path.partition(".")
        found = (field for part in self.parts if part.name == name for field in part.fields)
        return next((field for field in found if field.name == own), None)


REASONING = "reasoning"
"""What a model only thought, by marks of its own, is kept under this name."""
AS_WRITTEN = "as-written"
"""A reply that keeps a form of JSON is kept under this name as the model wrote it."""
PLAIN = Form()
"""The form of a therapist whose reply is said whole."""
WHOLE = "whole reply"
"""What tables call it."""
