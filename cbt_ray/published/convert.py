"""A clone of the public repository, converted: files of courses, sessions and ratings as anybody's
are, a study file for them where there is none, and the three imports.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.commands.delivery import Delivery
from cbt_ray.errors import InputError
from cbt_ray.imports.courses import import_courses
from cbt_ray.imports.manifest import open_study
from cbt_ray.imports.ratings import Published as Ratings
from cbt_ray.imports.ratings import import_ratings
from cbt_ray.imports.sessions import import_sessions
from cbt_ray.published.lines import course_lines, rating_rows, session_lines
from cbt_ray.published.publication import Published, read_published
from cbt_ray.published.remark import Remark
from cbt_ray.published.repository import open_repository
from cbt_ray.published.study_file import compose
from cbt_ray.stages.tables import csv_of

Say = Callable[[str], object]
COURSES, SESSIONS, RATINGS = "courses.jsonl", "sessions.jsonl", "ratings.csv"
REMARKS = "remarks.txt"
MAPPING = "cbt"
"""How `analyze` reads the published table of scores: it says who judged, and names the claims."""


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
    parts = f"; {repository.parts} files are parts of these sessions" if repository.parts else ""
    say(f"found {found}{parts}")
    name = repository.root.resolve().name
    open_study(
        study_file,
        overrides,
        lambda manifest: compose(published, study_file, manifest, name, found),
        say,
    )
    folder = study_file.with_name(f"{study_file.stem}.published")
    files, remarks = _converted(published, repository.commit)
    Delivery(folder, "import cbt").hand_over(files)
    _tell(remarks, published, folder / REMARKS, say)
    if COURSES in files:
        import_courses(folder / COURSES, study_file, overrides, say)
    if SESSIONS in files:
        import_sessions(folder / SESSIONS, study_file, overrides, say)
    if RATINGS in files:
        table = folder / RATINGS
        known = Ratings(str(load_mapping(MAPPING).constants["judge"]), MAPPING)
        import_ratings(
            table, study_file, None, None, None, overrides, say, complete=True, published=known
        )


def _converted(published: Published, commit: str | None) -> tuple[dict[str, bytes], list[Remark]]:
    """The files, without those in which nothing would stand, and all remarks."""
    remarks = list(published.remarks)
    rows = rating_rows(published, remarks)
    files = {
        COURSES: _jsonl(course_lines(published, commit)),
        SESSIONS: _jsonl(session_lines(published, commit)),
        RATINGS: csv_of(rows) if rows else b"",
        REMARKS: "".join(f"{one}\n" for one in remarks).encode("utf-8", "backslashreplace"),
    }
    return {name: data for name, data in files.items() if data}, remarks


def _jsonl(lines: Iterable[dict[str, Any]]) -> bytes:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return text.encode("utf-8", "backslashreplace")  # names of files may hold any bytes


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
        [f"{courses} course sessions of {len(published.courses)} sets"] if published.courses else []
    )
    if published.chains:
        therapists, patients = len(published.groups), len(published.patients)
        said.append(
            f"{len(held)} simulated sessions of {therapists} therapists with {patients} patients"
        )
        said.append(f"{here} ratings of them" if published.tables else "no score tables")
    return ", ".join(said)


def _tell(remarks: list[Remark], published: Published, file: Path, say: Say) -> None:
    """What could not be read, a line each; of the rest how much there is of each kind, but for what
    stands in the lines of sessions.
    """
    lost = [remark for remark in remarks if remark.lost]
    for remark in lost:
        say(str(remark))
    if lost:
        say(f"not imported: {len(lost)}")
    counts = Counter(one.reason for one in remarks if not one.lost)
    counts.subtract(one.reason for one in published.in_sessions)
    for reason, count in (+counts).most_common():
        say(f"imported, but {reason}: {count}")
    if remarks:
        say(f"file and line of each: {file}")
