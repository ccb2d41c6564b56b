"""A clone of the public repository of arXiv 2412.00251, or a part of it: which sets, simulations
and score tables lie in it.

Synthetic_Transcripts/depression_set_<n>/patient_profile.json, session_<n>.json
(session_<n>_part_<k>.json: parts of them)
CBT_Simulations/<group>/CBT_Depression_Simulations_<patient>/session_<n>_<time>.txt
Code/evaluation_results/*.csv
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cbt_ray.errors import InputError
from cbt_ray.published.remark import Remark
from cbt_ray.published.source import Clone, check_places, folders, table_beside

SETS, GROUPS, SCORES = "Synthetic_Transcripts", "CBT_Simulations", "Code/evaluation_results"
PATIENT = "CBT_Depression_Simulations_"
_SET = re.compile(r"depression_set_(\d+)")
_COURSE = re.compile(r"session_(\d+)\.json")
_PART = re.compile(r"session_\d+_part_\d+\.json")
_SESSION = re.compile(r"session_((\d+)_.+|(\d+))\.txt")
_TYPO = "expected a name such as {}"


@dataclass(frozen=True)
class CourseSet:
    """A synthetic patient with the sessions of its course."""

    number: int
    folder: str
    profile: str | None
    """Path of the profile."""
    sessions: dict[int, str]
    """Number -> path."""


@dataclass(frozen=True)
class Chain:
    """The simulated sessions of one group and patient."""

    group: str
    patient: str
    folder: str
    sessions: dict[int, tuple[str, str]]
    """Number -> id (as score tables name it) and path."""


@dataclass(frozen=True)
class Repository(Clone):
    """What lies in a clone. Paths are inside it."""

    sets: tuple[CourseSet, ...]
    chains: tuple[Chain, ...]
    tables: tuple[Path, ...]
    """The score tables: of the clone, or named on the command line."""
    parts: int
    """Files with parts of course sessions, whose words stand in the sessions."""
    remarks: tuple[Remark, ...]


def open_repository(root: Path, scores: Path | None = None) -> Repository:
    """Look through a clone; `scores` is a score table from elsewhere.

    Raises InputError where nothing of it is there.
    """
    check_places(root, scores)
    remarks: list[Remark] = []
    sets, chains = tuple(_sets(root, remarks)), tuple(_chains(root, remarks))
    if not sets and not chains:
        raise InputError(
            f"{root}: expected {SETS}/depression_set_<n>/ or {GROUPS}/<group>/, found neither"
        )
    tables = (scores,) if scores else tuple(_tables(root))
    parts = sum(bool(_PART.fullmatch(file.name)) for file in root.glob(f"{SETS}/*/*.json"))
    return Repository(root, sets, chains, tables, parts, tuple(remarks))


def _tables(root: Path) -> Iterator[Path]:
    """The clone's own score tables, or one that lies beside it under its name."""
    own = sorted(file for file in (root / SCORES).glob("*.csv") if not file.stem.endswith("_temp"))
    yield from own or filter(None, [table_beside(root)])


def _sets(root: Path, remarks: list[Remark]) -> Iterator[CourseSet]:
    found = []
    for folder in folders(root / SETS):
        name = _SET.fullmatch(folder.name)
        if not name:
            remarks.append(
                Remark(f"{SETS}/{folder.name}", 0, _TYPO.format("depression_set_1"), lost=True)
            )
            continue
        found.append(_set(int(name[1]), folder, f"{SETS}/{folder.name}", remarks))
    yield from sorted(
        (one for one in found if one.profile or one.sessions), key=lambda one: one.number
    )


def _set(number: int, folder: Path, where: str, remarks: list[Remark]) -> CourseSet:
    profile, sessions = None, {}
    for file in sorted(folder.iterdir()):
        name = _COURSE.fullmatch(file.name)
        if name and int(name[1]):
            sessions[int(name[1])] = f"{where}/{file.name}"
        elif file.name == "patient_profile.json":
            profile = f"{where}/{file.name}"
        elif not file.name.startswith(".") and not _PART.fullmatch(file.name):
            remarks.append(
                Remark(f"{where}/{file.name}", 0, _TYPO.format("session_1.json"), lost=True)
            )
    return CourseSet(number, where, profile, dict(sorted(sessions.items())))


def _chains(root: Path, remarks: list[Remark]) -> Iterator[Chain]:
    for group in folders(root / GROUPS):
        for folder in folders(group):
            where = f"{GROUPS}/{group.name}/{folder.name}"
            if not folder.name.startswith(PATIENT):
                remarks.append(Remark(where, 0, _TYPO.format(f"{PATIENT}<patient>"), lost=True))
                continue
            chain = Chain(
                group.name,
                folder.name.removeprefix(PATIENT).strip(),
                where,
                _sessions(folder, where, remarks),
            )
            if chain.sessions:
                yield chain


def _sessions(folder: Path, where: str, remarks: list[Remark]) -> dict[int, tuple[str, str]]:
    """The sessions by number.

    Of two files with the same number the one with the later time in its name.
    """
    found: dict[int, tuple[str, str]] = {}
    for file in sorted(folder.iterdir()):
        name = _SESSION.fullmatch(file.name)
        if file.name.startswith("."):
            continue
        if not name or not int(name[2] or name[3]):
            remarks.append(
                Remark(f"{where}/{file.name}", 0, _TYPO.format("session_1_<time>.txt"), lost=True)
            )
            continue
        number = int(name[2] or name[3])
        if number in found:
            remarks.append(
                Remark(
                    found[number][1],
                    0,
                    f"there is a later file of session {number}, {file.name}",
                    lost=True,
                )
            )
        found[number] = (name[1], f"{where}/{file.name}")
    return dict(sorted(found.items()))
