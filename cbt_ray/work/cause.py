"""Causes: why a unit is owed.

It was never made, it was damaged, what it was made from is another one now, its stage's VERSION was
raised, or a field of the study file changed: then what its key is made from is compared with what
an earlier unit of the same id recorded of its own.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from cbt_ray.unit import Key, Stage, Status, Unit
from cbt_ray.work.determinants import NOTHING, Way, default_at, differences, said
from cbt_ray.work.survey import Entry, State, Survey

NEVER = "never made"
DAMAGED = "damaged, moved aside"
MOST_FIELDS = 3
"""Fields that are named of one unit."""
LONGEST = 60
"""Characters of a value that are shown."""
_BEFORE = 10
"""Characters that are shown before the first one that differs."""
_WITH_FILES = (Stage.DATASET, Stage.ADAPTER, Stage.MODEL)
Place = tuple[Stage, str]


def causes(survey: Survey) -> Iterator[tuple[Entry, str]]:
    """The owed units of a survey, by stage, each with why it is owed.

    Units that are owed for the same reason have the same words. Nothing in the store is changed.
    """
    every = [entry for entries in survey.stages.values() for entry in entries]
    owed = [entry for entry in every if entry.state is State.OWED or entry.outdated]
    there = _Others(survey, {(one.key.stage, one.key.id) for one in owed if one.head is None})
    for entry in owed:
        yield entry, entry.why or _cause(survey, entry.key, there)


class _Others:
    """What the store holds of some units under other keys, and what was moved aside of them.

    Read side by side, without contents; nothing else is touched.
    """

    def __init__(self, survey: Survey, places: Container[Place]) -> None:
        found: dict[str, Place] = {}
        for path in survey.present:
            # STAGE/ID/H16, or aside/STAGE/ID/H16.DIGITS; blobs and checkpoints lie elsewhere
            *before, stage, name, _ = ("", "", *path.split("/")[1:])
            if before in (["", ""], ["", "", "aside"]) and (stage, name) in places:
                found[path] = (Stage(stage), name)
        self._units: dict[Place, list[tuple[str, Unit | None]]] = {}
        paths = sorted(found)
        for path, unit in zip(paths, survey.store.readable(paths), strict=True):
            self._units.setdefault(found[path], []).append((path, unit))

    def moved_aside(self, key: Key) -> list[Unit | None]:
        """What was moved aside under a key; None for what was damaged."""
        begins = f"{key.study}/aside/{key.stage}/{key.id}/{key.h16}."
        return [unit for path, unit in self._of(key) if path.startswith(begins)]

    def under_other_keys(self, key: Key) -> list[Unit]:
        """The units of the same id that were made from something else."""
        begins = f"{key.study}/{key.stage}/"
        return [unit for path, unit in self._of(key) if unit and path.startswith(begins)]

    def _of(self, key: Key) -> list[tuple[str, Unit | None]]:
        return self._units.get((key.stage, key.id), [])


def _cause(survey: Survey, key: Key, there: _Others) -> str:
    """Why a unit is owed that is not there."""
    if survey.keys.is_imported(key):
        return "was imported and is no longer there, import it again"
    if str(key) in survey.present:
        return DAMAGED  # the survey found it so, just now
    if aside := there.moved_aside(key):
        return "; ".join(dict.fromkeys(_moved(survey, key, unit) for unit in aside))
    if earlier := there.under_other_keys(key):
        # Of several, the one that is closest to what is wanted says most.
        found = [(*_changed(survey, key, unit), unit.key.h16) for unit in earlier]
        fields, origins, _ = min(found, key=lambda one: (len(one[0]), len(one[1]), one[2]))
        return _spelt(fields, origins)
    return NEVER


def _moved(survey: Survey, key: Key, unit: Unit | None) -> str:
    """Why a unit under today's key was moved aside."""
    if unit is None:
        return DAMAGED
    if unit.status is Status.REJECTED:
        return f"rejected ({unit.reason}), moved aside to be tried again"
    now = survey.record(key)
    stages = {one.stage for one in survey.keys.inputs(key) if _digests(one, unit.made_from, now)}
    if stages:
        return f"what it was made from says something else now ({_listed(stages)}), moved aside"
    return "moved aside" + (", for a large file of it" if key.stage in _WITH_FILES else "")


def _digests(one: Key, then: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether an input of a unit was another one then."""
    return then.get(str(one)) != now.get(str(one))


def _changed(survey: Survey, key: Key, unit: Unit) -> tuple[list[str], set[Stage]]:
    """What an earlier unit's key was made from otherwise: fields, and stages of its inputs."""
    if "determinants" not in unit.provenance:
        imported = "imported" in unit.provenance
        return [
            "an earlier one was imported"
            if imported
            else "an earlier one does not say what its key was made from"
        ], set()
    parts, then = survey.keys.determinants(key), unit.provenance["determinants"]
    fields = [
        _field(parts, way, was, now, key.stage) for way, was, now in differences(then, said(parts))
    ]
    return fields, _origins(set(survey.keys.inputs(key)), set(_parsed(unit.made_from)))


def _parsed(names: Iterable[str]) -> Iterator[Key]:
    """Keys, without those of a stage that only another version knows."""
    for name in names:
        with suppress(ValueError):
            yield Key.parse(name)


def _origins(now: set[Key], then: set[Key]) -> set[Stage]:
    """The stages of inputs that have another key now; where none has, of those that came or
    went.
    """
    known = {(one.stage, one.id): one for one in then}
    other = {one.stage for one in now if known.get((one.stage, one.id), one) != one}
    return other or {one.stage for one in now ^ then}


def _field(parts: dict[str, Any], way: Way, was: Any, now: Any, stage: Stage) -> str:
    """One field that changed, from what to what."""
    if way == ("version",):
        return f"the version of {stage} was raised from {was} to {now}"
    if way == ("code",):
        return f"the code of {stage} is another one"
    usual = default_at(parts, way)
    shown = [_json(usual if one is NOTHING else one) for one in (was, now)]
    texts = [
        text + (" (the default)" if one is NOTHING and usual is not NOTHING else "")
        for text, one in zip(_cut(*shown), (was, now), strict=True)
    ]
    return f"{'.'.join(way)} was {texts[0]}, is {texts[1]}"


def _json(value: Any) -> str:
    if value is NOTHING:
        return "not there"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(was: str, now: str) -> tuple[str, str]:
    """Two long values from where they begin to differ."""
    if max(len(was), len(now)) <= LONGEST:
        return was, now
    same = next(
        (n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b),
        min(len(was), len(now)),
    )
    first = max(0, same - _BEFORE)
    cut = [
        ("…" if first else "")
        + text[first : first + LONGEST]
        + ("…" if len(text) > first + LONGEST else "")
        for text in (was, now)
    ]
    return cut[0], cut[1]


def _spelt(fields: list[str], origins: set[Stage]) -> str:
    if not fields:
        others = f"what it is made from has other keys ({_listed(origins)})"
        return others if origins else "its key is made otherwise"
    more = len(fields) - MOST_FIELDS
    return "; ".join(fields[:MOST_FIELDS]) + (f"; and {more} more" if more > 0 else "")


def _listed(stages: Iterable[Stage]) -> str:
    """Stages in their order."""
    known = set(stages)
    return ", ".join(stage for stage in Stage if stage in known)
