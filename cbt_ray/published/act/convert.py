"""A clone of the public repository of arXiv 2509.09712, converted and imported, with a study file
for it where there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cbt_ray.count import agreeing, many
from cbt_ray.errors import InputError
from cbt_ray.published.act.lines import rating_rows, session_lines
from cbt_ray.published.act.profile import variables
from cbt_ray.published.act.publication import Published, Therapist, read_published
from cbt_ray.published.act.repository import open_repository
from cbt_ray.published.act.study_file import compose
from cbt_ray.published.act.transcript import MESSAGES, NO_ANSWER, failures
from cbt_ray.published.conversion import Conversion, Say
from cbt_ray.therapy.stop import StopReason


def import_act(
    root: Path, study_file: Path, scores: Path | None, overrides: Mapping[str, Any], say: Say
) -> None:
    """Convert a clone into a folder beside the study file, and import what is there then.

    Raises InputError where there is nothing to import, or where a study file that is there has no
    room.
    """
    repository = open_repository(root, scores)
    published = read_published(repository)
    if not published.therapists:
        first = next((f": {remark}" for remark in published.remarks if remark.lost), "")
        raise InputError(f"{root}: expected transcripts that can be read, found none{first}")
    found = summary_of(published)
    say(f"found {found}")
    for line in _told(published):
        say(line)
    name = repository.root.resolve().name

    def composed(manifest: Path) -> str:
        return compose(published, study_file, manifest, name, found)

    _converted(published, repository.commit).bring_in(study_file, composed, overrides, say)


def _converted(published: Published, commit: str | None) -> Conversion:
    sessions = tuple(session_lines(published, commit))
    rows = tuple(rating_rows(published))
    return Conversion("act", (), sessions, rows, published.remarks, published.differences)


def summary_of(published: Published) -> str:
    """How much was read, in words."""
    sessions = sum(len(one.sessions) for one in published.therapists)
    ratings = [judged for one in published.therapists for judged in one.ratings.values()]
    scores = sum(len(judged.scores) for judged in ratings)
    return (
        f"{many(sessions, 'session')} of {many(len(published.therapists), 'therapist')} with "
        f"{many(len(published.patients), 'patient')}, {many(len(ratings), 'rating')} with "
        f"{many(scores, 'item score')}"
    )


def _told(published: Published) -> Iterator[str]:
    """What is there of each therapist, what the profiles vary in, and where the table differs."""
    for one in published.therapists:
        yield f"{one.variant.arm}: {'; '.join(_parts(one, len(published.patients)))}"
    if published.profiles:
        yield variables(list(published.profiles.values()))
    if published.compared:
        differ = len(published.differences)
        yield f"the published table differs from judge's texts in {differ} of {published.compared}"
        yield from map(str, published.differences)


def _parts(one: Therapist, patients: int) -> Iterator[str]:
    sessions = [file.session for file in one.sessions.values()]
    complete = sum(session.stop is StopReason.MAX_MESSAGES for session in sessions)
    absent = patients - len(sessions)
    yield many(len(sessions), "session") + (f", {absent} absent" if absent else "")
    yield f"{complete} with all {MESSAGES} messages"
    marked = [[one for one in session.missed if one != NO_ANSWER] for session in sessions]
    turns, missed = sum(map(len, marked)), sum(map(bool, marked))
    if turns:
        errors = sum(failures(session.missed, session.details) for session in sessions)
        noun = agreeing(errors, "is an error and no reply", "are errors and no replies")
        own = f", of which {errors} {noun}" if errors else ""
        yield f"{many(turns, 'turn')} in {many(missed, 'session')} marked as missing the form{own}"
    kinds = Counter(how for session in sessions for how in session.missed)
    if kinds[NO_ANSWER]:
        yield f"{kinds[NO_ANSWER]} ended by a reply without an answer"
