"""The language of a study: what is said and looked for in it, as the prompt folder's language.yaml
has it.

Nothing here knows a word of any language. The parts of a generated session, their checks, the form
of a transcript, the words of stop rules, flags and of the masked view are all of that file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator

from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.reading import read_fields
from cbt_ray.reading.once import once
from cbt_ray.study.block import (
    Block,
    Pattern,
    Patterns,
    Phrase,
    Phrases,
    refuse_all,
    twice,
    values_of,
)
from cbt_ray.study.complaint import refusal
from cbt_ray.study.protocol import EndToken, Flags, Sessions

FILE = "language.yaml"


def _word(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z_]{0,30}", value):
        raise ValueError("expected at most 31 lower-case letters and underscores")
    return value


def _letters(value: str) -> str:
    try:
        re.compile(f"[{value}]")
    except re.error as error:
        raise ValueError(f"expected letters as in `A-Za-z` ({error})") from None
    if not any(letter.isalpha() for letter in value):
        raise ValueError("expected letters as in `A-Za-z`")
    return value


def _literal(value: str) -> str:
    if re.search(r'[\[\]^\\"\n]', value):
        raise ValueError('expected one line without [, ], ^, \\ and ", which no grammar takes')
    return value


class Need(Block):
    """What the therapist must say in a part; `no_NAME` is the fault of a part that lacks it."""

    name: Annotated[str, AfterValidator(_word)]
    patterns: Patterns
    """Regular expressions, whatever the case, of which one has to fit."""
    at_least: int = Field(1, ge=1, le=1000)
    """Times that they have to, in all of the therapist's turns together."""
    first_session: bool = False
    """In the first session of a course only."""


class LeadIn(Block):
    """First words of a therapist's turn, for models too weak to remember what was asked."""

    text: Annotated[Phrase, AfterValidator(_literal)]
    first_session: bool = False


class Part(Block):
    """A part of a generated session."""

    content: Phrase
    needs: tuple[Need, ...] = ()
    lead_ins: tuple[LeadIn, ...] = ()
    """Given to the therapist's turns from the first on."""
    farewell: bool = False
    """A farewell is right here; in any other part it ends the session too early."""
    summary: bool = False
    """The session's summary is written with this part."""

    def needed(self, session: int) -> list[Need]:
        """What must be said in this session (from 1)."""
        return [need for need in self.needs if session == 1 or not need.first_session]

    def leads(self, session: int) -> list[str]:
        """First words of the therapist's turns in this session (from 1)."""
        return [one.text for one in self.lead_ins if session == 1 or not one.first_session]


class Course(Block):
    """How generated sessions are built, and what sends a part back."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1, max_length=50)]
    labels: Phrases
    """Speaker labels: none may stand before a colon in a turn."""
    farewells: Patterns
    """Whole words, whatever the case, that end a session."""
    names: Pattern
    """What a full name looks like where the generator chooses one."""

    @model_validator(mode="after")
    def _one_summary(self) -> Course:
        if sum(part.summary for part in self.parts) > 1:
            raise ValueError("parts: expected at most one with `summary: true`")
        return self


class Transcript(Block):
    """How a session is shown to models."""

    opening: Phrase
    """The block with the previous `{summary}` in front of the patient's first message."""
    patient: Phrase
    therapist: Phrase
    end: Phrase
    """After the last turn; `{turns}` is their number."""
    end_of_one: Phrase
    silence: Phrase
    """What a therapist's turn holds from which a probe took everything."""
    blotted: Phrase
    """In place of an arm's or a model's name."""
    happens: Phrase
    """The block that tells the patient of an `{event}`, after the therapist's words."""
    stranger: Phrase
    """What the therapist calls a person who tries it with `chat`."""

    @model_validator(mode="after")
    def _holds(self) -> Transcript:
        refuse_all(
            f"{field}: expected {mark} in it"
            for field, mark in (
                *(("opening", "{summary}"), ("end", "{turns}"), ("happens", "{event}")),
            )
            if mark not in getattr(self, field)
        )
        return self

    def opened(self, summary: str) -> str:
        """The block with the previous summary: known as such, and so taken out again."""
        return self.opening.replace("{summary}", summary)

    def happened(self, event: str) -> str:
        """The block that tells the patient of an event."""
        return self.happens.replace("{event}", event)

    def ended(self, turns: int) -> str:
        """The mark after the last turn."""
        return self.end_of_one if turns == 1 else self.end.replace("{turns}", str(turns))


class Stop(Block):
    """Words of the stop rules that the study file leaves to the language."""

    end_token: Phrase
    summary: Phrases


class Replayed(Block):
    """A published stop rule that is replayed over every study's sessions."""

    name: Phrase
    phrases: Phrases
    whole_words: bool = False


class FlagWords(Block):
    """What flags are found by, beside the thresholds of the study file."""

    therapist_name: Phrase
    """The name that the prompts give the therapist; the patient's is known."""
    therapist_labels: Phrases
    """Words that label a line as the therapist's, besides the name."""
    patient_labels: Phrases
    """Words that label a line as the patient's, besides the name."""
    patient_voice: Phrases
    """What only a patient says; outside quotation marks and lists a therapist that says it speaks
    as the patient."""
    greetings: Phrases
    """Before a speaker's own name: it addresses itself."""
    signatures: Patterns
    """Before a comma and the own name: a signature, or a speaker that says who it is."""
    introductions: Phrases
    """After a greeting and the own name: a speaker that says who it is."""
    template_leakage: Phrases
    """Marks of a prompt inside a turn, whatever the case.

    A speaker's label at the start of a line is one too, and header marks without a header; a
    markdown heading is none."""


class FlagRules(Flags, FlagWords):
    """All that decides a flag: thresholds of the study file and words of its language."""


class Masked(Block):
    """What the masked view takes out besides markdown and marks of chat templates."""

    limits: Patterns
    """Whole words, whatever the case; a therapist's sentence that holds one states its limits."""


class Language(Block):
    """language.yaml of a prompt folder. Every list holds something: no check is silently void."""

    name: Phrase
    letters: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_letters)]
    """Of the language, as in `A-Za-z`: what `prose: letters` leaves."""
    capitals: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_letters)]
    """With which a sentence begins."""
    course: Course
    transcript: Transcript
    stop: Stop
    replayed: tuple[Replayed, ...] = ()
    flags: FlagWords
    masked: Masked

    @model_validator(mode="after")
    def _fits_together(self) -> Language:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        again = twice(rule.name for rule in self.replayed)
        if again is not None:
            yield f"replayed: expected each name once, found {again!r} twice"
        for number, part in enumerate(self.course.parts):
            for which, lead in enumerate(part.lead_ins):
                if not part.farewell and whole_words(self.course.farewells).search(lead.text):
                    yield (
                        f"course.parts.{number}.lead_ins.{which}.text: expected no farewell in a "
                        "part without `farewell: true`"
                    )

    def sessions(self, rules: Sessions) -> Sessions:
        """The study file's rules of sessions, with this language's words where it names none."""
        stop = tuple(
            rule.model_copy(update={"mark": rule.mark or self.stop.end_token})
            if isinstance(rule, EndToken)
            else rule.model_copy(update={"phrases": rule.phrases or self.stop.summary})
            for rule in rules.stop
        )
        return rules.model_copy(update={"stop": stop})

    def rules(self, thresholds: Flags) -> FlagRules:
        """The rules of the flags under these thresholds."""
        return FlagRules(**{**values_of(thresholds), **values_of(self.flags)})


def load_language(prompts: Prompts) -> Language:
    """Read the language of the prompts.

    Raises InputError naming file and field, all that is wrong at once.
    """
    return _read(prompts.path(FILE))


@once
def _read(path: Path) -> Language:
    try:
        return Language.model_validate(read_fields(path))
    except ValidationError as error:
        raise refusal(error, Language, f"{path}: ") from None
    except RecursionError:
        raise InputError(f"{path}: expected patterns that are not nested so deep") from None


@cache
def whole_words(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One of the patterns as whole words, whatever the case."""
    return re.compile(rf"(?i)\b({'|'.join(patterns)})\b")


@cache
def any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One of the patterns, whatever the case."""
    return re.compile("|".join(f"(?:{one})" for one in patterns), re.IGNORECASE)


def label_of(words: Iterable[str]) -> re.Pattern[str]:
    """One of the words before a colon."""
    return re.compile(rf"\b({'|'.join(re.escape(word) for word in words)})\s*:")
