"""The protocol: phases, courses, sessions with their stop rules and flags."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cbt_ray.study.block import Block, Chars, Name, Phrase, Phrases, Share

LONGEST_SESSION = 10_000
"""Messages."""


class Phase(Block):
    """A stretch of the course with its goals and techniques."""

    name: Name
    """The name in prompts and scores."""
    sessions: tuple[int, int]
    """First and last session, counted from 1, both included."""
    goals: str
    """Given to generator and therapist."""
    techniques: str
    """Given to generator and therapist."""

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
    """Sessions of a course."""
    write: Literal["parts", "turns"] = "parts"
    """How a session is written.

    `parts`: the generator writes both sides, a part of the session at a time, as the language's
    `course.parts` say. `turns`: the generator writes the therapist, `roles.course_patient` the
    patient, in turn.
    """
    pairs: int = Field(4, ge=1, le=20)
    """Pairs of turns (patient, therapist) in a part of a session, with `parts`."""
    exchanges: int = Field(25, ge=1, le=1000)
    """Pairs of turns in a session, with `turns`."""
    form: str | None = None
    """A name under `forms`: how the therapist's turns are written, with `turns`.

    A model that is trained in a form with hidden parts needs courses that have them.
    """
    hidden_chars: Chars = (20, 1500)
    """Shortest and longest hidden part in characters."""
    revisions: int = Field(2, ge=0, le=100)
    """Times that a turn is written anew for `roles.critic`."""
    unmended: Literal["reject", "keep"] = "reject"
    """What becomes of a session with a turn that is never accepted."""
    turn_chars: Chars = (20, 1200)
    """Shortest and longest turn in characters."""
    summary_chars: Chars = (80, 3000)
    """Shortest and longest session summary in characters."""
    lead_ins: bool = False
    """Give turns the first words that the language has for them.

    Those of agenda and limits, for models too weak to remember what was asked.
    """
    attempts: int = Field(20, ge=1, le=1000)
    """Times that a part or turn is asked for before its session is rejected.

    The published code asks 20 times.
    """


class EndToken(Block):
    """The therapist writes the end token, which its prompt teaches."""

    rule: Literal["end_token"]
    """Which rule."""
    mark: Phrase | None = None
    """What the therapist writes at the end; none: the language's.

    In English it is `[END OF SESSION]`. The prompt teaches it, and each training session ends with
    it.
    """


class TherapistSummary(Block):
    """The therapist writes a session summary (the paper's rule)."""

    rule: Literal["summary"]
    """Which rule."""
    phrases: Phrases | None = None
    """Any of these in the therapist's turn; none: the language's.

    Upper and lower case are the same.
    """


class Farewell(Block):
    """A phrase of farewell in the therapist's turn (the published code's rule.

    `take care` alone ended 245 of 600 sessions).
    """

    rule: Literal["farewell"]
    """Which rule."""
    phrases: Phrases
    """Any of these in the therapist's turn, in upper or lower case."""


StopRule = Annotated[EndToken | TherapistSummary | Farewell, Field(discriminator="rule")]


class Events(Block):
    """What may happen to a patient between two messages; the therapist knows of it only what the
    patient says.
    """

    texts: Phrases
    """One of these is drawn, and the patient learns of it."""
    share: Share
    """How often something happens, of the exchanges in which it may."""
    exchanges: tuple[int, int]
    """The first and the last exchange in which it may, both included.

    The patient's first message begins the first exchange; nothing happens before it.
    """

    @model_validator(mode="after")
    def _in_order(self) -> Events:
        if not 2 <= self.exchanges[0] <= self.exchanges[1] <= LONGEST_SESSION:
            raise ValueError(
                f"exchanges: expected [first, last] with 2 <= first <= last <= "
                f"{LONGEST_SESSION:,}, found {list(self.exchanges)}"
            )
        return self


class Sessions(Block):
    """Simulated sessions: how many, when they stop, what is flagged."""

    decides_nothing: ClassVar[frozenset[str]] = frozenset({"expected_messages"})

    count: int = Field(ge=1, le=1000)
    """Sessions of a chain: of one arm with one patient."""
    replicates: int = Field(1, ge=1, le=1000)
    """Chains for each arm and patient."""
    opener: Literal["greeting", "case"] = "greeting"
    """What the patient's first message is, in sessions and courses alike.

    `greeting`: patient_first.j2. `case`: the patient's profile, word for word. With
    `max_messages: 2` the therapist's reply ends the session.
    """
    stop: tuple[StopRule, ...] = (EndToken(rule="end_token"), TherapistSummary(rule="summary"))
    """Rules that end a session.

    The first that is met is the reason recorded. `[]`: only its length ends it.
    """
    min_therapist_turns: int = Field(4, ge=0)
    """No rule stops a session before this many therapist turns."""
    events: Events | None = None
    """What happens to patients in a session; none: nothing but the dialogue."""
    max_messages: int = Field(50, ge=2, le=LONGEST_SESSION)
    """Messages of both speakers together; always ends a session."""
    max_words: int = Field(5000, ge=10)
    """Words of both speakers together; always ends a session."""
    summary_chars: Chars = (80, 3000)
    """Shortest and longest summary by the summariser in characters.

    A session that no other follows has none.
    """
    expected_messages: float | None = Field(None, ge=1, le=LONGEST_SESSION)
    """Messages of a usual session; used by `plan` only."""

    @property
    def patient_speaks(self) -> bool:
        """Whether a patient model is asked: there is more than a first message and its reply."""
        return self.max_messages > 2


class Flags(Block):
    """Thresholds of the flags that a session can get; flags never exclude.

    Their words are of the study's language.
    """

    few_therapist_turns: int = Field(3, ge=0)
    """Fewer therapist turns than this.

    A session that has no room for more (`sessions.max_messages`) has enough.
    """
    early_end: int = Field(6, ge=0)
    """The session stopped, not for its length, before this many messages."""
    repetition: Share = 0.05
    """Share of all turns that mainly repeat, or more.

    Such a turn repeats what the same speaker said before; one turn is never enough.
    """
    repeated_run: int = Field(8, ge=1)
    """So many words in a row that were said before are a repeat.

    They were said by the same speaker; stock phrases are shorter.
    """
    repeated_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a turn's words from which it mainly repeats."""
    role_confusion: Share = 0.1
    """Share of turns in which a speaker is the other, or more.

    The speaker speaks as the other or writes both sides; the larger share of the two counts.
    """
