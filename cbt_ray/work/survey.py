"""What became of every unit of a study: done, rejected (why), not reached, owed.

Read from the store, kept nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cbt_ray.errors import InputError
from cbt_ray.rating.probe import SWAPPED
from cbt_ray.store import Store
from cbt_ray.study.model import Arm
from cbt_ray.study.rater import Judge
from cbt_ray.unit import Head, Key, Stage, Status
from cbt_ray.work.keys import Chain, Keys
from cbt_ray.work.origin import difference, named


class State(StrEnum):
    """A unit's state. `not_reached`: what it builds on was rejected, so it will never be made."""

    DONE = "done"
    REJECTED = "rejected"
    NOT_REACHED = "not_reached"
    OWED = "owed"


@dataclass(frozen=True)
class Entry:
    """One unit's state, and the reason of a rejection.

    `head` is that of the unit that is there. One that is owed all the same says why: what it was
    made from is there in another version (`outdated`: it does not count any more), or is owed
    itself (then it stays if that comes out as it was).
    """

    key: Key
    state: State
    reason: str | None = None
    head: Head | None = None
    why: str | None = None
    outdated: bool = False

    @property
    def digest(self) -> str | None:
        """What a unit that is made from this one records of it.

        None where there is none to be made from.
        """
        return (
            self.head.digest if self.head and self.state in (State.DONE, State.REJECTED) else None
        )


class Survey:
    """The state of all units of a study, stage by stage, as the store shows it now."""

    def __init__(self, keys: Keys, store: Store, stages: Iterable[Stage] = tuple(Stage)) -> None:
        self.keys = keys
        self.store = store
        wanted = set(stages)
        below = {one for stage in wanted for one in keys.with_below(stage)}
        self.present = frozenset(store.list(f"{keys.study.study}/"))
        """All that lies in the store under the study's name, as it was before anything was read."""
        self._heads = self._read(below)
        self._entries: dict[Key, Entry] = {}
        self._late = keys.taught if Stage.RATINGS in below else []
        """What is made from imported ratings is judged after them."""
        judged = {stage: self._stage(stage) for stage in Stage if stage in below}
        for key in self._late:
            judged.setdefault(key.stage, []).append(self._entry(key))
        self.stages: dict[Stage, list[Entry]] = {
            stage: entries for stage, entries in judged.items() if stage in wanted
        }

    def owed(self, stage: Stage) -> list[Key]:
        """Keys that are owed in a stage."""
        return [entry.key for entry in self.stages[stage] if entry.state is State.OWED]

    def counts(self, stage: Stage) -> Counter[State]:
        """How many units are in which state."""
        return Counter(entry.state for entry in self.stages[stage])

    def reasons(self, stage: Stage) -> Counter[str]:
        """How many units were rejected for which reason."""
        return Counter(
            entry.reason or "unknown"
            for entry in self.stages[stage]
            if entry.state is State.REJECTED
        )

    def chain(self, keys: Sequence[Key], before: State = State.DONE) -> list[Entry]:
        """The states of keys that build on each other, in order, after something in state
        `before`.
        """
        entries = []
        for key in keys:
            entry = self._judge(key, before)
            before = entry.state
            entries.append(entry)
        return entries

    def record(self, key: Key) -> dict[str, str]:
        """What a unit records that is made now from all that is there of its inputs.

        None of them is owed.
        """
        known = ((one, self._entry(one).digest) for one in self.keys.inputs(key))
        return {str(one): digest for one, digest in known if digest is not None}

    def outdated(self) -> list[tuple[Head, str]]:
        """Units that are there and do not count any more, each with why."""
        entries = (entry for entries in self.stages.values() for entry in entries)
        return [(entry.head, entry.why or "") for entry in entries if entry.outdated and entry.head]

    def set_rejected_aside(
        self, stage: Stage, keep: str | None = None, among: Container[Key] | None = None
    ) -> list[Entry]:
        """Make a stage's rejected units owed again, but for those with the reason `keep`.

        Answers what was moved aside.

        `among`: these units only. What was made without them is owed once one of them comes out
        otherwise.
        """
        made = [entry for entry in self.stages[stage] if not self.keys.is_imported(entry.key)]
        made = [entry for entry in made if among is None or entry.key in among]
        rejected = [
            entry for entry in made if entry.state is State.REJECTED and entry.reason != keep
        ]
        for entry in rejected:
            data = self.store.read(str(entry.key))
            if data is not None:
                self.store.set_aside(str(entry.key), seen=data)
        return rejected

    def _read(self, stages: set[Stage]) -> dict[Key, Head]:
        """The units that are there, read side by side where the store is far away."""
        known = self.keys.all()
        keys = [key for stage in stages for key in known[stage] if str(key) in self.present]
        return {head.key: head for head in self.store.heads(keys)}

    def _stage(self, stage: Stage) -> list[Entry]:
        keys = self.keys
        if stage is Stage.COURSES:
            return [
                entry
                for profile, chain in keys.course_chains().items()
                for entry in self.chain(chain, self._entry(profile).state)
            ]
        if stage is Stage.PAIRS:
            return [
                self._judge(key, self._entry(keys.course(number, session)).state)
                for (_, number, session), key in keys.pairs().items()
            ]
        if stage is Stage.SESSIONS:
            return [
                entry
                for chain in keys.chains()
                for entry in self.chain(keys.chain(*chain), self._before(chain))
            ]
        if stage is Stage.RATINGS:
            imported = [self._judge(key) for key in keys.imported_ratings()]
            for key in self._late:
                self._judge(key, self._adapter_of(key))
            models = {name: self._model_of(judge) for name, judge in keys.study.judges.items()}
            ordinary = [
                (keys.rating(session, *how), _worst(self._entry(session).state, models[how[0]]))
                for session in keys.sessions()
                for how in keys.judgements_of(session)
            ]
            probes = [(keys.probe(*probe), self._behind(*probe)) for probe in keys.probes()]
            return [*(self._judge(*one) for one in (*ordinary, *probes)), *imported]
        return [
            self._judge(key, self._adapter_of(key))
            for key in keys.all()[stage]
            if key not in self._late
        ]

    def _adapter_of(self, key: Key) -> State:
        """The state of the adapters that a model is chosen from; of anything else, that nothing
        holds it up. One that was rejected is no choice, as long as there is another.
        """
        adapters = [one for one in self.keys.inputs(key) if one.stage is Stage.ADAPTER]
        states = [self._entry(one).state for one in adapters]
        open_ = [one for one in states if one in (State.DONE, State.OWED)]
        return _worst(*(open_ or states))

    def _before(self, chain: Chain) -> State:
        """The state of what a chain's first session builds on: the model and the profile that the
        study makes.
        """
        arm, patient, _, seed = chain
        written = self.keys.written_as(patient)
        known = self._entry(self.keys.profile(written)).state if written else State.DONE
        return _worst(self._model(arm, seed), known)

    def _model(self, arm: Arm, seed: int) -> State:
        """The state of the model that an arm's therapist is, where the study exports it."""
        made = self.keys.made_for(arm, seed)
        return self._entry(self.keys.model(made)).state if made else State.DONE

    def _model_of(self, judge: Judge) -> State:
        """The state of the model that a judge is, where the study exports it."""
        return self._entry(self.keys.model(judge.made)).state if judge.made else State.DONE

    def _behind(self, session: Key, name: str) -> State:
        """The state of what a probe builds on: its session, the one whose therapist it is given,
        and the judge.
        """
        donor = self.keys.donors[session] if name == SWAPPED else None
        states = [self._entry(one).state for one in (session, donor) if one is not None]
        return _worst(*states, self._model_of(self.keys.study.judge))

    def _entry(self, key: Key) -> Entry:
        """A unit that was judged.

        One of a stage that nothing asked for is built on by imported units only.
        """
        return self._entries.get(key) or Entry(key, State.OWED)

    def _judge(self, key: Key, before: State = State.DONE) -> Entry:
        """A unit after something in state `before`. What it is made from was judged before it."""
        self._entries[key] = entry = self._judged(key, before)
        return entry

    def _judged(self, key: Key, before: State) -> Entry:
        head, waits = self._heads.get(key), None
        reached = before not in (State.REJECTED, State.NOT_REACHED) or self.keys.is_imported(key)
        if head is None:
            return Entry(key, State.OWED if reached else State.NOT_REACHED)
        for one in self.keys.inputs(key):
            found = self._entry(one)
            if found.state is State.OWED:
                if str(one) in head.made_from:
                    waits = waits or f"made from {named(one)}, which is owed"
            elif head.made_from.get(str(one)) != found.digest:
                why = difference(one, head.made_from, found.digest)
                return Entry(
                    key,
                    State.OWED if reached else State.NOT_REACHED,
                    head=head,
                    why=why,
                    outdated=True,
                )
        if waits:
            return Entry(key, State.OWED, head=head, why=waits)
        return Entry(
            key, State.DONE if head.status is Status.DONE else State.REJECTED, head.reason, head
        )


def _worst(*states: State) -> State:
    order = State.REJECTED, State.NOT_REACHED, State.OWED
    return next((state for state in order if state in states), State.DONE)


def must_be_imported(survey: Survey, *stages: Stage) -> None:
    """Raise InputError where a unit that was imported is not in the store: nothing makes it but an
    import.
    """
    lost = [key for stage in stages for key in survey.owed(stage) if survey.keys.is_imported(key)]
    if lost:
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        file, where = survey.keys.study.file, survey.store.url
        raise InputError(
            f"{file}: imported: expected {lost[0].stage} {lost[0].id}{more} in {where}, import it "
            "again"
        )
