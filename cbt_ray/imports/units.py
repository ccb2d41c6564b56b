"""Imported units: what others held or rated as units of a study, keyed by content.

Written once, as all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from cbt_ray.store import Store
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import Study
from cbt_ray.study.imported import ABSENT
from cbt_ray.unit import Key, Stage, Status, Unit, digest

NOTHING: Mapping[str, str] = MappingProxyType({})
THREADS = {True: 2, False: 16}
"""Units written at once, in a folder and elsewhere: a folder waits for the disk, which two hide;
more get in each other's way."""


def imported_unit(
    study: Study,
    stage: Stage,
    name: str,
    content: dict[str, Any],
    made_by: dict[str, Any],
    made_from: Mapping[str, str] = NOTHING,
) -> Unit:
    """A unit whose key is the digest of its content.

    `made_by` says where that comes from, and is not part of it.

    `made_from`: of a rating the session that was rated, with its digest; the same scores of other
    words are another unit. Its provenance has no `made_at`: when it was made is not known.
    """
    key = Key(study.study, stage, name, digest([stage, name, content, *made_from.items()]))
    return Unit(
        key, content, provenance={"cbt_ray": _version(), "imported": made_by}, made_from=made_from
    )


def absent_unit(study: Study, stage: Stage, name: str) -> Unit:
    """What stands for a unit that is scheduled, and for which the import holds nothing: it is not
    owed, and is never made.
    """
    content = {"detail": "the import holds nothing for it"}
    key = Key(study.study, stage, name, digest([stage, name, content]))
    return Unit(
        key,
        content,
        Status.REJECTED,
        ABSENT,
        {"cbt_ray": _version(), "imported": {}},
        made_from=NOTHING,
    )


@cache
def _version() -> str:
    return version("cbt-ray")


@dataclass(frozen=True)
class Stored:
    """What became of units that were to be written."""

    units: int
    new: int
    """Those that were not in the store yet."""


def store_units(
    store: Store,
    study: Study,
    units: Sequence[Unit],
    note: Callable[[str], object] = lambda _: None,
) -> Stored:
    """Write units that the store lacks, several at a time."""
    present = set(store.list(f"{study.study}/"))
    lacking = [unit for unit in units if str(unit.key) not in present]
    with ThreadPoolExecutor(THREADS[isinstance(store, FolderStore)]) as pool:
        for unit in pool.map(store.put, lacking):
            note(str(unit.key))
    return Stored(len(units), len(lacking))


def digests(units: Iterable[Unit], stage: Stage) -> Mapping[str, str]:
    """Id -> digest of the units of a stage, as a manifest holds them."""
    return {
        unit.key.id: unit.key.h16
        for unit in sorted(units, key=lambda unit: unit.key.id)
        if unit.key.stage is stage
    }
