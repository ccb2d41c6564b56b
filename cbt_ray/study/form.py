"""Forms: the parts that a therapist's reply is made of, of which the patient hears some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from cbt_ray.study.block import Block, Name, Phrase, refuse_all, twice

PROMPT = "therapist.j2"
"""The therapist's system prompt where neither arm nor form has one."""


def _one_line(value: str) -> str:
    if len(value.splitlines()) != 1 or value != value.strip():
        raise ValueError("expected one line without blanks around it")
    return value


class FormPart(Block):
    """A part of a reply, from its label to the next one."""

    name: Name
    """In tables and exports."""
    label: Annotated[Phrase, Field(max_length=60), AfterValidator(_one_line)]
    """What it begins with, at the start of a line: `Answer:`.

    Upper and lower case are the same.
    """
    shown: bool = False
    """Whether the patient reads it.

    What is not is kept and shown in the report on request; no other model reads it, nor does the
    therapist in a later turn.
    """


class Form(Block):
    """How a therapist replies, and the prompt that asks for it, in training and simulation alike.

    A reply that misses the form is no error: it is counted, turn by turn.
    """

    prompt: str = PROMPT
    """The therapist's system prompt, a file of the prompt folder."""
    parts: Annotated[tuple[FormPart, ...], Field(max_length=20)] = ()
    """In this order. Without any the patient reads the whole reply."""

    @model_validator(mode="after")
    def _fits(self) -> Form:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        for field in ("name", "label"):
            again = twice(getattr(part, field).casefold() for part in self.parts)
            if again is not None:
                yield f"parts: expected each {field} once, found {again!r} twice"
        if self.parts and not any(part.shown for part in self.parts):
            yield "parts: expected one with `shown: true`, or the patient would hear nothing"
        if any(part.name == REASONING for part in self.parts):
            yield f"parts: expected another name than {REASONING}, which is what a model thinks"


REASONING = "reasoning"
"""What a model only thought, by marks of its own, is kept under this name."""
PLAIN = Form()
"""The form of a therapist whose reply is said whole."""
WHOLE = "whole reply"
"""What tables call it."""
