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
from cbt_ray.study import Study
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
        units = self._bench.store.get_many(self._done)
        return {
            key: (Session.from_json(unit.content), StopReason(unit.content["stop"]))
            for key, unit in units
            if unit
        }

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
    def lost(self) -> dict[Key, str]:
        """Sessions that ended with a reply which missed its form and said nothing: how it did."""
        units = self._bench.store.get_many(self._done)
        return {
            key: max(unit.content["missed"], key=unit.content["missed"].get)
            for key, unit in units
            if unit and unit.content.get("missed") and unit.content["stop"] in SILENCES
        }

    @cached_property
    def references(self) -> dict[Key, Reference]:
        """The labels that the generator gave to the case of each session, where it did."""
        keys, fields = self._bench.keys, label_fields(self._bench.study)
        courses = {key: chain for chain in keys.chains() for key in keys.chain(*chain)}
        written = {
            key: keys.course(number, 1)
            for key, chain in courses.items()
            if fields and (number := keys.written_as(chain[1])) is not None
        }
        units = {
            key: unit for key, unit in self._bench.store.get_many(set(written.values())) if unit
        }
        return {
            key: _reference(units[course], fields)
            for key, course in written.items()
            if course in units and units[course].status is Status.DONE
        }

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


def label_fields(study: Study) -> list[str]:
    """The fields whose labels rules compare with the generator's."""
    rules = (rule for book in study.rulebooks.values() for rule in book.rules.values())
    return list(dict.fromkeys(rule.field for rule in rules if rule.labels and rule.field))


def _reference(course: Unit, fields: list[str]) -> Reference:
    """Empty where the course's reply is not in the form, as in one that was imported."""
    session = Session.from_json(course.content)
    if not any(name == AS_WRITTEN for turn in session.turns for name, _ in turn.hidden):
        return NOBODY
    return {field: named(session, field) for field in fields}


def _spent(book: Rulebook, session: Session) -> list[str]:
    """Nothing, after all rules were counted once."""
    values(book, session, ())
    return []
