"""What was published, read: courses, simulated chains and ratings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cbt_ray.published.cbt.course import Synthetic, read_course_session
from cbt_ray.published.cbt.group import EXPECTED, Group, groups_of
from cbt_ray.published.cbt.repository import (
    GROUPS,
    Chain,
    CourseSet,
    Repository,
)
from cbt_ray.published.cbt.score_table import PublishedRating, read_tables
from cbt_ray.published.cbt.simulated import Simulated, read_simulated
from cbt_ray.published.remark import Remark
from cbt_ray.published.source import Source, one_kind_of_ends
from cbt_ray.reading import loads

_NAME = re.compile(
    r"\s*\W*Patient Profile:?\W*(?P<name>[^\n(*]+)|(?s:.*?)^\W*(?:Patient "
    r")?Name:\W*(?P<other>[^\n(*]+)",
    re.IGNORECASE | re.MULTILINE,
)
_SPOKEN = re.compile(r"(?:I'm|I am|[Mm]y name is|[Nn]ame's) ([A-Z][^\s.,!?]+(?: [A-Z][^\s.,!?]+)?)")
_HALF = re.compile("[\ud800-\udfff]")
PERSONAL = 60
"""Longest name, as a study file takes it."""


@dataclass(frozen=True)
class ProfileFile:
    """A synthetic patient's profile."""

    source: Source
    text: str
    characteristics: dict[str, Any]
    """By their published names."""


@dataclass(frozen=True)
class CourseFile:
    """A course session's file."""

    source: Source
    session: Synthetic


@dataclass(frozen=True)
class Course:
    """A synthetic patient with what was read of it."""

    folder: str
    name: str
    profile: ProfileFile | None
    sessions: dict[int, CourseFile]


@dataclass(frozen=True)
class SessionFile:
    """A simulated session's file."""

    source: Source
    id: str
    session: Simulated


@dataclass(frozen=True)
class SimulatedChain:
    """The simulated sessions of one therapist and patient."""

    group: Group
    patient: str
    folder: str
    sessions: dict[int, SessionFile]


@dataclass(frozen=True)
class Published:
    """Everything that was read."""

    courses: tuple[Course, ...]
    chains: tuple[SimulatedChain, ...]
    ratings: dict[tuple[str, str], PublishedRating]
    """Group folder and session id -> rating."""
    tables: int
    """Score tables that were read."""
    remarks: tuple[Remark, ...]

    @property
    def has_ratings(self) -> bool:
        """Some session whose transcript was read was rated."""
        return any(
            (chain.group.folder, file.id) in self.ratings
            for chain in self.chains
            for file in chain.sessions.values()
        )

    @property
    def groups(self) -> list[Group]:
        """The therapists, in the order of their arms' names."""
        known = {chain.group.arm: chain.group for chain in self.chains}
        return [known[arm] for arm in sorted(known)]

    @property
    def patients(self) -> list[str]:
        """The simulated patients by name."""
        return sorted({chain.patient for chain in self.chains})


def read_published(repository: Repository) -> Published:
    """Read everything that lies in a clone."""
    remarks = list(repository.remarks)
    courses = [course for one in repository.sets if (course := _course(repository, one, remarks))]
    groups = groups_of(chain.group for chain in repository.chains)
    chains = []
    for folder in sorted({chain.group for chain in repository.chains} - set(groups)):
        remarks.append(Remark(f"{GROUPS}/{folder}", 0, EXPECTED, lost=True))
    for chain in repository.chains:
        if chain.group in groups:
            sessions = _chain(repository, chain, remarks)
            if sessions:
                chains.append(
                    SimulatedChain(groups[chain.group], chain.patient, chain.folder, sessions)
                )
    ratings, said = read_tables(repository.tables, repository.root)
    return Published(
        tuple(courses), tuple(chains), ratings, len(repository.tables), (*remarks, *said)
    )


def _course(repository: Repository, found: CourseSet, remarks: list[Remark]) -> Course | None:
    profile = _profile(repository, found, remarks)
    sessions: dict[int, CourseFile] = {}
    passed: list[str] = []
    patient = _name_in(profile)
    for number, path in found.sessions.items():
        read = _json(repository, path, "transcript", remarks)
        if read is None:
            continue
        source, fields = read
        text = one_kind_of_ends(fields["transcript"])
        session = read_course_session(path, text, passed, patient)
        lost = [remark for remark in session.remarks if remark.lost]
        remarks += lost or session.remarks
        if lost:
            continue
        passed = [session.passed, *passed] if session.passed else passed
        sessions[number] = CourseFile(source, session)
    if profile is None and not sessions:
        return None
    return Course(found.folder, _name(profile, sessions, found), profile, sessions)


def _profile(repository: Repository, found: CourseSet, remarks: list[Remark]) -> ProfileFile | None:
    if found.profile is None:
        remarks.append(Remark(found.folder, 0, "no patient_profile.json", lost=True))
        return None
    read = _json(repository, found.profile, "profile", remarks)
    if read is None:
        return None
    source, fields = read
    known = fields.get("characteristics")
    return ProfileFile(source, fields["profile"], known if isinstance(known, dict) else {})


def _json(
    repository: Repository, path: str, field: str, remarks: list[Remark]
) -> tuple[Source, dict[str, Any]] | None:
    """The fields of a JSON file, of which one must hold text."""
    source = repository.read(path)
    if isinstance(source, Remark):
        remarks.append(source)
        return None
    try:
        fields = loads(source.text)
    except ValueError as error:
        line = re.match(r"line (\d+): ", str(error))
        said = str(error).removeprefix(line[0]) if line else str(error)
        place = int(line[1]) if line else 1
        remarks.append(Remark(path, place, f"expected JSON ({said})", lost=True))
        return None
    text = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(text, str) or not text.strip():
        remarks.append(Remark(path, 1, f"expected a field {field} with text", lost=True))
        return None
    if _HALF.search(json.dumps(fields, ensure_ascii=False)):
        remarks.append(Remark(path, 0, "expected text, found half a surrogate pair", lost=True))
        return None
    return source, fields


def _name(profile: ProfileFile | None, sessions: dict[int, CourseFile], found: CourseSet) -> str:
    """The patient's name: as the profile begins, else as the patient says it first, else the number
    of the set.
    """
    named = _name_in(profile)
    if named:
        return named
    spoken = (
        _SPOKEN.search(turn.text)
        for file in sessions.values()
        for turn in file.session.written.turns[:1]
    )
    return next((match[1] for match in spoken if match), f"Patient {found.number}")


def _name_in(profile: ProfileFile | None) -> str | None:
    """The name that a profile begins with."""
    named = _NAME.match(profile.text) if profile else None
    name = (named["name"] or named["other"]).strip(" :*#-\t") if named else ""
    return name[:PERSONAL].strip() if re.search(r"[A-Za-z0-9]", name) else None


def _chain(repository: Repository, chain: Chain, remarks: list[Remark]) -> dict[int, SessionFile]:
    sessions: dict[int, SessionFile] = {}
    passed: list[str] = []
    for number, (own, path) in chain.sessions.items():
        source = repository.read(path)
        if isinstance(source, Remark):
            remarks.append(source)
            continue
        if not source.text.strip():
            remarks.append(Remark(path, 0, "is empty", lost=True))
            continue
        session = read_simulated(path, source.text, passed, chain.patient)
        lost = [remark for remark in session.remarks if remark.lost]
        remarks += lost or session.remarks
        if lost:
            continue
        if session.number not in (None, number):
            remarks.append(
                Remark(
                    path, 1, f"says session {session.number}, its name says {number}, which counts"
                )
            )
        passed = [session.passed, *passed] if session.passed else passed
        sessions[number] = SessionFile(source, own, session)
    return sessions


def levels(profiles: Iterable[ProfileFile]) -> dict[str, dict[str, int]]:
    """How often each level of each characteristic occurs, by the published names of the
    characteristics.
    """
    found: dict[str, dict[str, int]] = {}
    for profile in profiles:
        for name, value in profile.characteristics.items():
            counts = found.setdefault(name, {})
            for level in value if isinstance(value, list) else [value]:
                counts[str(level)] = counts.get(str(level), 0) + 1
    return found
