"""What was published, read: profiles, sessions and ratings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cbt_ray.count import many
from cbt_ray.published.act.judged import Judged, read_judged
from cbt_ray.published.act.profile import Profile, held_with, read_profiles
from cbt_ray.published.act.repository import Held, Repository, VariantFiles
from cbt_ray.published.act.score_table import difference, read_rows
from cbt_ray.published.act.transcript import Simulated, read_transcript, same_words
from cbt_ray.published.act.variant import Variant
from cbt_ray.published.remark import Remark
from cbt_ray.published.source import Source


@dataclass(frozen=True)
class SessionFile:
    """A session's file."""

    source: Source
    session: Simulated


@dataclass(frozen=True)
class Therapist:
    """One of the six with what was read of it, by the number of the profile."""

    variant: Variant
    sessions: dict[int, SessionFile]
    ratings: dict[int, Judged]

    @property
    def rated(self) -> list[int]:
        """The sessions of which there are transcript and rating."""
        return sorted(self.sessions.keys() & self.ratings.keys())


@dataclass(frozen=True)
class Published:
    """Everything that was read."""

    profiles: dict[int, Profile]
    therapists: tuple[Therapist, ...]
    """Those of whom there are sessions."""
    compared: int
    """Ratings that stand in the published table, too."""
    differences: tuple[Remark, ...]
    """Where that table has other scores than the judge's text."""
    remarks: tuple[Remark, ...]

    @property
    def patients(self) -> list[int]:
        """The numbers of the patients: of profiles, and of sessions without one."""
        held = {number for one in self.therapists for number in one.sessions}
        return sorted({*self.profiles, *held})

    @property
    def events(self) -> list[str]:
        """What patients were told between two messages."""
        told = (file.session.events for one in self.therapists for file in one.sessions.values())
        return sorted({event for events in told for event in events})


def read_published(repository: Repository) -> Published:
    """Read everything that is in a clone."""
    remarks = list(repository.remarks)
    profiles = _profiles(repository, remarks)
    therapists = tuple(
        Therapist(
            files.variant,
            _sessions(repository, files, profiles, remarks),
            _ratings(repository, files, remarks),
        )
        for files in repository.variants
    )
    compared, differences = _compared(repository, therapists, remarks)
    held = tuple(one for one in therapists if one.sessions)
    remarks += [*differences, *_elsewhere(therapists)]
    return Published(profiles, held, compared, tuple(differences), tuple(remarks))


def _elsewhere(therapists: tuple[Therapist, ...]) -> Iterator[Remark]:
    """How many ratings there are of sessions that are not here, which are left out."""
    for one in therapists:
        if count := len(one.ratings) - len(one.rated):
            said = f"{many(count, 'rating')} of sessions whose transcripts are not here"
            yield Remark(one.variant.folder, 0, said, lost=True)


def _read(repository: Repository, path: str, remarks: list[Remark]) -> Source | None:
    source = repository.read(path)
    if isinstance(source, Remark):
        remarks.append(source)
        return None
    return source


def _profiles(repository: Repository, remarks: list[Remark]) -> dict[int, Profile]:
    source = repository.profiles and _read(repository, repository.profiles, remarks)
    if not source:
        return {}
    profiles, said = read_profiles(source)
    remarks += said
    return profiles


def _sessions(
    repository: Repository,
    files: VariantFiles,
    profiles: dict[int, Profile],
    remarks: list[Remark],
) -> dict[int, SessionFile]:
    found = {}
    for number, held in files.sessions.items():
        if held.transcript is None:
            said = f"session {number} has no full transcript"
            remarks.append(Remark(held.dialogue or held.profile or "", 0, said, lost=True))
            continue
        source = _read(repository, held.transcript, remarks)
        if source is None:
            continue
        session = read_transcript(source.path, source.text)
        lost = [remark for remark in session.remarks if remark.lost]
        remarks += lost or session.remarks
        if not lost:
            found[number] = SessionFile(source, session)
            _check(repository, held, session, profiles.get(number), remarks)
    return found


def _check(
    repository: Repository,
    held: Held,
    session: Simulated,
    profile: Profile | None,
    remarks: list[Remark],
) -> None:
    """Remark on a session whose judge read other words, or which another patient held."""
    dialogue = held.dialogue and _read(repository, held.dialogue, remarks)
    if dialogue and not same_words(session.judged, dialogue.text):
        said = "its judge read other words than the full transcript has"
        remarks.append(Remark(dialogue.path, 0, said))
    own = held.profile and _read(repository, held.profile, remarks)
    if own and profile and held_with(own) != profile.digest:
        said = "its profile is not the one of its number"
        remarks.append(Remark(own.path, 0, said))


def _ratings(
    repository: Repository, files: VariantFiles, remarks: list[Remark]
) -> dict[int, Judged]:
    found = {}
    for number, path in files.judged.items():
        source = _read(repository, path, remarks)
        if source is None:
            continue
        judged = read_judged(path, source.text)
        lost = [remark for remark in judged.remarks if remark.lost]
        remarks += lost or judged.remarks
        if not lost:
            found[number] = judged
    return found


def _compared(
    repository: Repository, therapists: tuple[Therapist, ...], remarks: list[Remark]
) -> tuple[int, list[Remark]]:
    """How many ratings stand in the published table, too, and where they differ."""
    if repository.table is None:
        return 0, []
    rows, said = read_rows(repository.table, repository.root)
    remarks += said
    both = [
        (rows[one.variant.folder, number], judged)
        for one in therapists
        for number, judged in one.ratings.items()
        if (one.variant.folder, number) in rows
    ]
    found = (difference(row, judged) for row, judged in both)
    return len(both), [one for one in found if one]
