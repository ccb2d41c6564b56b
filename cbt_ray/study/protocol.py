"""The protocol: patients, phases, courses, sessions with their stop rules and flags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from cbt_ray.study.block import LONGEST_TEXT, Block, Chars, Name, Share, refuse_all, twice

CHARACTERISTICS = (
    "age_band",
    "gender",
    "ethnicity",
    "education",
    "occupation",
    "symptom_severity",
    "engagement",
    "life_events",
    "family_background",
    "hobbies",
    "social_support",
    "personality",
    "coping",
)
"""The 13 characteristics of a profile (arXiv 2412.00251, Methods)."""


def _person(value: str) -> str:
    if not re.search(r"[A-Za-z0-9]", value) or not value.isprintable():
        raise ValueError("expected a name with at least one Latin letter or digit")
    return value


Weights = Annotated[Mapping[str, Annotated[float, Field(gt=0, le=1_000_000)]], Field(min_length=1)]
PersonName = Annotated[str, Field(max_length=60), AfterValidator(_person)]
Phrase = Annotated[str, Field(min_length=1)]


class TrainingPatients(Block):
    """Patients whose courses are generated.

    Their profiles are drawn from declared distributions.
    """

    count: int = Field(ge=1, le=100_000)
    characteristics: Mapping[str, Weights]
    """For each of the 13 characteristics its levels and their weights."""
    names: tuple[PersonName, ...] = ()
    """A name for each patient; without them the generator chooses."""
    narrative_chars: Chars = (200, 4000)
    """Shortest and longest narrative in characters."""

    @model_validator(mode="after")
    def _thirteen(self) -> TrainingPatients:
        refuse_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        missing = sorted(set(CHARACTERISTICS) - set(self.characteristics))
        unknown = sorted(set(self.characteristics) - set(CHARACTERISTICS))
        if missing or unknown:
            found = ", ".join(
                [
                    *(f"{name} is missing" for name in missing),
                    *(f"{name} is unknown" for name in unknown),
                ]
            )
            yield (
                f"characteristics: expected exactly the 13 of the protocol, {found} "
                f"({', '.join(CHARACTERISTICS)})"
            )
        again = twice(self.names)
        if again is not None:
            yield f"names: expected each name once, found {again!r} twice"
        if self.names and len(self.names) < self.count:
            yield f"names: expected at least {self.count}, found {len(self.names)}"


class SimulatedPatient(Block):
    """A patient of the simulation: fixed, and disjoint from the training patients."""

    name: PersonName
    profile: str = Field(min_length=40, max_length=LONGEST_TEXT)
    """Who the patient is, as the patient model reads it."""


class Patients(Block):
    """Both sets of patients."""

    training: TrainingPatients | None = None
    simulated: tuple[SimulatedPatient, ...] = Field(min_length=1)


class Phase(Block):
    """A stretch of the course with its goals and techniques."""

    name: Name
    sessions: tuple[int, int]
    """First and last session, counted from 1, both included."""
    goals: str
    techniques: str

    @model_validator(mode="after")
    def _in_order(self) -> Phase:
        if not 1 <= self.sessions[0] <= self.sessions[1]:
            raise ValueError(
                "sessions: expected [first, last] with 1 <= first <= last, found "
                f"{list(self.sessions)}"
            )
        return self


class Courses(Block):
    """Generated courses: how long, how a session's four parts are built, what sends a part back."""

    sessions: int = Field(ge=1, le=1000)
    pairs: int = Field(4, ge=1, le=20)
    """Pairs of turns (patient, therapist) in a part."""
    turn_chars: Chars = (20, 1200)
    """Shortest and longest turn in characters."""
    summary_chars: Chars = (80, 3000)
    lead_ins: bool = False
    """Give the turns with the agenda and the limits their first words: for models too weak to
    remember what was asked."""
    attempts: int = Field(20, ge=1, le=1000)
    """Times that a part is asked for before its session is rejected (the published code: 20)."""


class EndToken(Block):
    """The therapist writes the end token, which its prompt teaches."""

    rule: Literal["end_token"]
    mark: Phrase = "[END OF SESSION]"


class TherapistSummary(Block):
    """The therapist writes a session summary (the paper's rule)."""

    rule: Literal["summary"]
    phrases: tuple[Phrase, ...] = Field(
        ("session summary", "summary of our session", "summary of today's session"), min_length=1
    )


class Farewell(Block):
    """A phrase of farewell in the therapist's turn (the published code's rule.

    `take care` alone ended 245 of 600 sessions).
    """

    rule: Literal["farewell"]
    phrases: tuple[Phrase, ...] = Field(min_length=1)


StopRule = Annotated[EndToken | TherapistSummary | Farewell, Field(discriminator="rule")]


class Sessions(Block):
    """Simulated sessions: how many, when they stop, what is flagged."""

    decides_nothing: ClassVar[frozenset[str]] = frozenset({"expected_messages"})

    count: int = Field(ge=1, le=1000)
    """Sessions of a chain."""
    replicates: int = Field(1, ge=1, le=1000)
    """Chains for each arm and patient."""
    stop: tuple[StopRule, ...] = (EndToken(rule="end_token"), TherapistSummary(rule="summary"))
    min_therapist_turns: int = Field(4, ge=0)
    """No rule stops a session before this many therapist turns."""
    max_messages: int = Field(50, ge=2, le=10_000)
    max_words: int = Field(5000, ge=10)
    summary_chars: Chars = (80, 3000)
    expected_messages: float | None = Field(None, ge=1, le=10_000)
    """Messages of a usual session; used by `plan` only."""


PATIENT_VOICE = (
    *(
        "as your patient",
        "my therapist",
        "my homework",
        "my core belief",
        "my negative thoughts",
        "my symptoms",
    ),
    *(
        "my depression",
        "my anxiety",
        "my mood",
        "my sleep",
        "my pain",
        "my medication",
        "my diagnosis",
    ),
    *(
        "my kids",
        "my children",
        "my son",
        "my daughter",
        "my wife",
        "my husband",
        "my partner",
        "my family",
    ),
    *(
        "my parents",
        "my mother",
        "my father",
        "my mom",
        "my dad",
        "my job",
        "my boss",
        "my coworkers",
    ),
)
"""An AI therapist has no family, job, body or treatment of its own."""


class Flags(Block):
    """Thresholds of the flags that a session can get; flags never exclude."""

    few_therapist_turns: int = Field(3, ge=0)
    """Fewer therapist turns than this."""
    early_end: int = Field(6, ge=0)
    """The session stopped by a rule before this many messages."""
    repetition: Share = 0.05
    """Share of all turns that mainly repeat what the same speaker said before, or more; once is
    never enough."""
    repeated_run: int = Field(8, ge=1)
    """So many words in a row that the speaker said before are a repeat; stock phrases are shorter.
    """
    repeated_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a turn's words that are a repeat from which the turn mainly repeats."""
    role_confusion: Share = 0.1
    """Share of a speaker's turns in which it speaks as the other or writes both sides, or more; of
    either speaker."""
    therapist_name: Phrase = "Nova"
    """The name that the prompts give the therapist; the patient's is known."""
    therapist_labels: tuple[Phrase, ...] = ("therapist", "counselor", "counsellor", "assistant")
    """Words that label a line as the therapist's, besides the name."""
    patient_labels: tuple[Phrase, ...] = ("patient", "client", "user", "human")
    """Words that label a line as the patient's, besides the name."""
    patient_voice: tuple[Phrase, ...] = PATIENT_VOICE
    """What only a patient says; outside quotation marks and lists a therapist that says it speaks
    as the patient."""
    template_leakage: tuple[Phrase, ...] = (
        "<|",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "</s>",
        "<start_of_turn>",
        "<end_of_turn>",
        "### instruction:",
        "### response:",
        "### input:",
        "[your ",
        "[insert ",
        "[name]",
        "[date]",
        "[patient name",
        "[patient's name",
        "[client name",
        "[client's name",
        "[therapist name",
        "[therapist's name",
        "[summary of the previous session]",
        "[end of summary]",
    )
    """Marks of a prompt inside a turn, whatever the case.

    A speaker's label at the start of a line is one too, and header marks without a header; a
    markdown heading is none."""
