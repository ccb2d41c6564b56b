"""Held: the sessions of a study that were held, read once, and what is known of each beside its
ratings.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial

from cbt_ray.errors import InputError
from cbt_ray.imports.rows import Facts
from cbt_ray.rating.measure import Value
from cbt_ray.rating.rule import NOBODY, Reference, named, values
from cbt_ray.rating.view import Strip, heard, judged_turns
from cbt_ray.reading.trial import tried
from cbt_ray.study.form import AS_WRITTEN
from cbt_ray.study.rater import Rulebook
from cbt_ray.therapy.flags import fired
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.therapy.stop import SILENCES, StopReason
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.bench import Bench
from cbt_ray.work.survey import State, Survey


class Held:
    """All sessions that a survey of Stage.SESSIONS says are done."""

    def __init__(self, bench: Bench, survey: Survey) -> None:
        self._bench = bench
        self._done = [
            entry.key for entry in survey.stages[Stage.SESSIONS] if entry.state is State.DONE
        ]
        self._facts: dict[Key, Facts] = {}
        self._heard: dict[tuple[Key, str, Strip], int] = {}

    @cached_property
    def sessions(self) -> dict[Key, tuple[Session, StopReason]]:
        """What was said, and why it ended."""
        return self._read[0]

    @property
    def lost(self) -> dict[Key, str]:
        """Sessions that ended with a reply which missed its form and said nothing: how it did."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[dict[Key, tuple[Session, StopReason]], dict[Key, str]]:
        """Both, of one pass through the store."""
        sessions, lost = dict[Key, tuple[Session, StopReason]](), dict[Key, str]()
        for key, unit in self._bench.store.get_many(self._done):
            if unit:
                stop = StopReason(unit.content["stop"])
                sessions[key] = Session.from_json(unit.content), stop
                missed: dict[str, int] = unit.content.get("missed", {})
                if missed and stop in SILENCES:
                    lost[key] = max(missed, key=lambda how: missed[how])
        return sessions, lost

    @cached_property
    def fired(self) -> dict[Key, dict[str, tuple[str, ...]]]:
        """The flags of each session, with the rules that made them."""
        rules = load_language(self._bench.prompts).rules(self._bench.study.thresholds)
        return {key: fired(session, stop, rules) for key, (session, stop) in self.sessions.items()}

    def counted(self, rater: str) -> dict[Key, dict[str, Value]]:
        """What a rater's rules count in each session.

        Raises InputError where a regular expression takes too long: it was not made for such texts.
        """
        book = self._bench.study.rulebooks[rater]
        sought = [rule for rule in book.rules.values() if rule.regex is not None]
        tasks = [partial(_spent, book, session) for session, _ in self.sessions.values() if sought]
        if slow := next((said for said in tried(tasks) if said), None):
            raise InputError(
                f"{self._bench.study.file}: raters.{rater}.rules: expected regular expressions "
                f"that a session is quickly searched for; with one {slow[0]}"
            )
        return {
            key: values(
                *(book, session, self.fired[key], self.references.get(key, NOBODY)),
                lost=key in self.lost,
            )
            for key, (session, _) in self.sessions.items()
        }

    @cached_property
    def references(self) -> dict[Key, Reference]:
        """The labels that the generator gave to the case of each session, where it did."""
        keys, field = self._bench.keys, self._bench.study.label_field
        if field is None:
            return {}
        courses = {
            key: keys.course(number, 1)
            for chain in keys.chains()
            if (number := keys.written_as(chain[1])) is not None
            for key in keys.chain(*chain)
        }
        units = self._bench.store.get_many(set(courses.values()))
        done = {course: unit for course, unit in units if unit and unit.status is Status.DONE}
        return {key: _reference(done[one], field) for key, one in courses.items() if one in done}

    def facts(self, key: Key) -> Facts | None:
        """What is known of a session beside its ratings; None where it was not held."""
        if key not in self.sessions:
            return None
        if key not in self._facts:
            session, stop = self.sessions[key]
            self._facts[key] = Facts(
                words=session.words,
                therapist_turns=len(session.turns_of(Speaker.THERAPIST)),
                messages=len(session.turns),
                flags=list(self.fired[key]),
                stop_reason=stop.value,
            )
        return self._facts[key]

    def heard(self, key: Key, view: str, strip: Strip) -> int | None:
        """Therapist turns with a word in what a judge reads of a session.

        None where it was not held.
        """
        if key not in self.sessions:
            return None
        place = key, view, strip
        if place not in self._heard:
            turns = judged_turns(self.sessions[key][0], strip)
            self._heard[place] = heard(turns, view, load_language(self._bench.prompts))
        return self._heard[place]

    def by_arm(self) -> Iterator[tuple[str, Session, StopReason]]:
        """Every session with its arm, in the order of the chains."""
        keys = self._bench.keys
        for chain in keys.chains():
            for key in keys.chain(*chain):
                if key in self.sessions:
                    yield chain[0].name, *self.sessions[key]


def _reference(course: Unit, field: str) -> Reference:
    """Empty where the course's reply is not in the form, as in one that was imported."""
    session = Session.from_json(course.content)
    if not any(name == AS_WRITTEN for turn in session.turns for name, _ in turn.hidden):
        return NOBODY
    return {field: named(session, field)}


def _spent(book: Rulebook, session: Session) -> list[str]:
    """Nothing, after all rules were counted once."""
    values(book, session, ())
    return []
