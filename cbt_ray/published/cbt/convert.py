"""A clone of the public repository of arXiv 2412.00251, converted and imported, with a study file
for it where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.published.cbt.lines import course_lines, rating_rows, session_lines
from cbt_ray.published.cbt.publication import Published, read_published
from cbt_ray.published.cbt.repository import open_repository
from cbt_ray.published.cbt.study_file import compose
from cbt_ray.published.conversion import Conversion, Say


def import_cbt(
    root: Path, study_file: Path, scores: Path | None, overrides: Mapping[str, Any], say: Say
) -> None:
    """Convert a clone into a folder beside the study file, and import what is there then.

    Raises InputError where there is nothing to import, or where a study file that is there has no
    room.
    """
    repository = open_repository(root, scores)
    published = read_published(repository)
    if not published.courses and not published.chains:
        first = next((f": {remark}" for remark in published.remarks if remark.lost), "")
        raise InputError(f"{root}: expected transcripts that can be read, found none{first}")
    found = summary_of(published)
    parts = (
        f"; {many(repository.parts, 'file')} more with parts of these sessions"
        if repository.parts
        else ""
    )
    say(f"found {found}{parts}")
    name = repository.root.resolve().name

    def composed(manifest: Path) -> str:
        return compose(published, study_file, manifest, name, found)

    _converted(published, repository.commit).bring_in(study_file, composed, overrides, say)


def _converted(published: Published, commit: str | None) -> Conversion:
    remarks = list(published.remarks)
    rows = rating_rows(published, remarks)
    courses, sessions = course_lines(published, commit), session_lines(published, commit)
    return Conversion("cbt", tuple(courses), tuple(sessions), tuple(rows), tuple(remarks))


def summary_of(published: Published) -> str:
    """How much was read, in words."""
    held = [
        (chain.group.folder, file.id)
        for chain in published.chains
        for file in chain.sessions.values()
    ]
    here = sum(place in published.ratings for place in held)
    courses = sum(len(course.sessions) for course in published.courses)
    said = (
        [f"{many(courses, 'course session')} of {many(len(published.courses), 'set')}"]
        if published.courses
        else []
    )
    if published.chains:
        therapists, patients = len(published.groups), len(published.patients)
        said.append(
            f"{many(len(held), 'simulated session')} of {many(therapists, 'therapist')} with "
            f"{many(patients, 'patient')}"
        )
        said.append(f"{many(here, 'rating')} of them" if published.tables else "no score tables")
    return ", ".join(said)
