"""Origins: what units are made from.

Nothing stays in the store that is older than what it was made from.

A unit records the digests of its inputs (`made_from`). Before a unit is written, those that were
made from another one in its place are moved aside, so that a process killed in between leaves units
owed, and none behind its time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cbt_ray.store import Store
from cbt_ray.unit import Head, Key, Stage, Unit
from cbt_ray.work.determinants import said
from cbt_ray.work.keys import Keys

log = logging.getLogger(__name__)


def warn(key: str, why: str) -> None:
    """Say of a unit why it was moved aside."""
    log.warning("%s: %s", key, why)


@dataclass(frozen=True)
class Origins:
    """The units of a study by what they are made from."""

    keys: Keys
    store: Store
    tell: Callable[[str, str], None] = warn
    """Hears of each unit that is moved aside, and why."""

    def record(self, key: Key, inputs: Iterable[Unit]) -> dict[str, str]:
        """What a unit under `key` that is made from these units records.

        Raises ValueError where they are not those that its key is derived from: that is a fault of
        this program.
        """
        found = {unit.key: unit.digest for unit in inputs}
        if set(found) != set(self.keys.inputs(key)):
            raise ValueError(
                f"{key}: made from {sorted(map(str, found))}, which are not its inputs"
            )
        return {str(one): digest for one, digest in found.items()}

    def current(self, key: Key, made_from: Mapping[str, str]) -> Unit | None:
        """The unit under a key, if it was made from this.

        One that was made from something else is moved aside, and is owed.
        """
        unit = self.store.get(key)
        if unit is None or self.keys.is_imported(key) or unit.made_from == made_from:
            return unit
        other = next(
            one
            for one in (*made_from, *unit.made_from)
            if made_from.get(one) != unit.made_from.get(one)
        )
        self._set_aside(
            unit.head, difference(Key.parse(other), unit.made_from, made_from.get(other))
        )
        return None

    def put(self, unit: Unit) -> Unit:
        """Write a unit once, as `Store.put`, after all that was made from another one in its place
        has been moved aside. It records what its key was made from.
        """
        known = self.store.get(unit.key)
        if known is not None:
            return known
        for head in self.store.heads(self.keys.made_of(unit.key)):
            if head.made_from.get(str(unit.key)) != unit.digest:
                self._set_aside(head, difference(unit.key, head.made_from, unit.digest))
        determinants = {"determinants": said(self.keys.determinants(unit.key))}
        return self.store.put(replace(unit, provenance=unit.provenance | determinants))

    def set_aside(self, outdated: Sequence[tuple[Head, str]]) -> None:
        """Move units aside that do not count any more, and say why of each.

        What is concluded last goes first: a process that is killed leaves no conclusion without
        what it rests on.
        """
        for head, why in sorted(
            outdated, key=lambda one: (_ORDER[one[0].key.stage], str(one[0].key)), reverse=True
        ):
            self._set_aside(head, why)

    def _set_aside(self, head: Head, why: str) -> None:
        data = self.store.read(str(head.key))
        if data is None or Head.from_bytes(data) != head:
            return  # another process was here
        then = "; it is trained again" if head.key.stage is Stage.ADAPTER else ""
        self.tell(str(head.key), f"{why}; moved aside{then}")
        self.store.set_aside(str(head.key), seen=data)


_ORDER = {stage: number for number, stage in enumerate(Stage)}


def difference(one: Key, made_from: Mapping[str, str], now: str | None) -> str:
    """What is wrong with a unit whose record differs in this input from the digest of what is there
    now.
    """
    if now is None:
        return f"made from {named(one)}, which is no longer there"
    return (
        f"made from another {named(one)}" if str(one) in made_from else f"made without {named(one)}"
    )


def named(key: Key) -> str:
    """A unit as a line about another one names it."""
    return f"{key.stage} {key.id}"
