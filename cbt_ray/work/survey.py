"""What became of every unit of a study: done, rejected (why), not reached, owed. Read from the store, kept nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cbt_ray.errors import InputError
from cbt_ray.rating.probe import SWAPPED
from cbt_ray.store import Store
from cbt_ray.study.model import Arm
from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.keys import Keys

_BUILDS_ON = {Stage.COURSES: Stage.PROFILES, Stage.SESSIONS: Stage.FINETUNE, Stage.RATINGS: Stage.SESSIONS}
"""Stages whose units can be `not_reached` because of a unit of another stage."""


class State(StrEnum):
    """A unit's state. `not_reached`: what it builds on was rejected, so it will never be made."""

    DONE = "done"
    REJECTED = "rejected"
    NOT_REACHED = "not_reached"
    OWED = "owed"


@dataclass(frozen=True)
class Entry:
    """One unit's state, and the reason of a rejection."""

    key: Key
    state: State
    reason: str | None = None


class Survey:
    """The state of all units of a study, stage by stage, as the store shows it now."""

    def __init__(self, keys: Keys, store: Store, stages: Iterable[Stage] = tuple(Stage)) -> None:
        self.keys = keys
        self.store = store
        wanted = set(stages)
        self._entries = self._read({below for stage in wanted for below in _with_below(stage)})
        self.stages: dict[Stage, list[Entry]] = {stage: self._stage(stage) for stage in Stage if stage in wanted}

    def owed(self, stage: Stage) -> list[Key]:
        """Keys that are owed in a stage."""
        return [entry.key for entry in self.stages[stage] if entry.state is State.OWED]

    def counts(self, stage: Stage) -> Counter[State]:
        """How many units are in which state."""
        return Counter(entry.state for entry in self.stages[stage])

    def reasons(self, stage: Stage) -> Counter[str]:
        """How many units were rejected for which reason."""
        return Counter(entry.reason or "unknown" for entry in self.stages[stage] if entry.state is State.REJECTED)

    def chain(self, keys: Sequence[Key], before: State = State.DONE) -> list[Entry]:
        """The states of keys that build on each other, in order, behind something in state `before`."""
        entries = []
        for key in keys:
            entry = self._entry(key, before)
            before = entry.state
            entries.append(entry)
        return entries

    def set_rejected_aside(self, stage: Stage, keep: str | None = None, among: Container[Key] | None = None) -> list[Entry]:
        """Make a stage's rejected units owed again, but for those with the reason `keep`; answers what was moved aside.

        `among`: these units only.
        """
        made = [entry for entry in self.stages[stage] if not self.keys.is_imported(entry.key)]
        made = [entry for entry in made if among is None or entry.key in among]
        rejected = [entry for entry in made if entry.state is State.REJECTED and entry.reason != keep]
        # What was concluded without them first, so that no crash in between leaves it in force.
        concluded = [self.keys.report(), self.keys.analysis()] if rejected else []
        for key in [*concluded, *(entry.key for entry in rejected)]:
            data = self.store.read(str(key))
            if data is not None:
                self.store.set_aside(str(key), seen=data)
        return rejected

    def _read(self, stages: set[Stage]) -> dict[Key, Entry]:
        """The units that are there, read side by side where the store is far away."""
        present = set(self.store.list(f"{self.keys.study.study}/"))
        known = self.keys.all()
        keys = [key for stage in stages for key in known[stage] if str(key) in present]
        return {key: _entry_of(key, unit) for key, unit in self.store.get_many(keys)}

    def _stage(self, stage: Stage) -> list[Entry]:
        keys = self.keys
        if stage is Stage.COURSES:
            patients = range(1, keys.study.patients.training.count + 1)
            numbers = range(1, keys.study.courses.sessions + 1)
            chains = [([keys.course(n, s) for s in numbers], self._entry(keys.profile(n)).state) for n in patients]
            return [entry for chain, before in chains for entry in self.chain(chain, before)]
        if stage is Stage.SESSIONS:
            return [entry for chain in keys.chains() for entry in self.chain(keys.chain(*chain), self._model(chain[0]))]
        if stage is Stage.RATINGS:
            sessions = self._stage(Stage.SESSIONS)
            ordinary = [self._entry(key, session.state) for session in sessions for key in keys.ratings_of(session.key)]
            held = {session.key: session.state for session in sessions}
            probes = [self._entry(keys.probe(*probe), self._behind(held, *probe)) for probe in keys.probes()]
            return ordinary + probes + [self._entry(key) for key in keys.imported_ratings()]
        return [self._entry(key) for key in keys.all()[stage]]

    def _model(self, arm: Arm) -> State:
        """The state of the model that an arm's therapist is, where the finetune stage makes it."""
        pair = (arm.model, arm.variant)
        return self._entry(self.keys.finetune(*pair)).state if pair in self.keys.finetunes else State.DONE

    def _behind(self, held: dict[Key, State], session: Key, name: str) -> State:
        """The state of what a probe builds on: its session, and the one whose therapist it is given."""
        donor = self.keys.donors[session] if name == SWAPPED else None
        states = [held[session], *([held[donor]] if donor else [])]
        return next((state for state in (State.REJECTED, State.NOT_REACHED, State.OWED) if state in states), State.DONE)

    def _entry(self, key: Key, before: State = State.DONE) -> Entry:
        if before in (State.REJECTED, State.NOT_REACHED) and not self.keys.is_imported(key):
            return Entry(key, State.NOT_REACHED)
        return self._entries.get(key) or Entry(key, State.OWED)


def _with_below(stage: Stage) -> Iterator[Stage]:
    """A stage and all that its units build on."""
    yield stage
    if stage in _BUILDS_ON:
        yield from _with_below(_BUILDS_ON[stage])


def must_be_imported(survey: Survey, *stages: Stage) -> None:
    """Raise InputError where a unit that was imported is not in the store: nothing makes it but an import."""
    lost = [key for stage in stages for key in survey.owed(stage) if survey.keys.is_imported(key)]
    if lost:
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        file, where = survey.keys.study.file, survey.store.url
        raise InputError(f"{file}: imported: expected {lost[0].stage} {lost[0].id}{more} in {where}, import it again")


def _entry_of(key: Key, unit: Unit | None) -> Entry:
    if unit is None:
        return Entry(key, State.OWED)
    return Entry(key, State.DONE if unit.status is Status.DONE else State.REJECTED, unit.reason)
