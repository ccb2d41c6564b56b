"""A conversion: a clone as files of courses, sessions and ratings such as anybody has, which the
three imports then take.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.commands.delivery import Delivery
from cbt_ray.imports.courses import import_courses
from cbt_ray.imports.manifest import open_study
from cbt_ray.imports.ratings import Published as Ratings
from cbt_ray.imports.ratings import import_ratings
from cbt_ray.imports.sessions import import_sessions
from cbt_ray.published.remark import Remark
from cbt_ray.stages.tables import csv_of

Say = Callable[[str], object]
Line = dict[str, Any]
COURSES, SESSIONS, RATINGS = "courses.jsonl", "sessions.jsonl", "ratings.csv"
REMARKS = "remarks.txt"


@dataclass(frozen=True)
class Conversion:
    """What a clone became."""

    publication: str
    """As the command names it; also how `analyze` reads the published table of scores: the mapping
    says who judged, and names the claims.
    """
    courses: tuple[Line, ...]
    sessions: tuple[Line, ...]
    ratings: tuple[dict[str, str], ...]
    remarks: tuple[Remark, ...]
    told: tuple[Remark, ...] = ()
    """Those that were said already."""

    @property
    def files(self) -> dict[str, bytes]:
        """The files, without those in which nothing would stand."""
        files = {
            COURSES: _jsonl(self.courses),
            SESSIONS: _jsonl(self.sessions),
            RATINGS: csv_of(self.ratings) if self.ratings else b"",
            REMARKS: "".join(f"{one}\n" for one in self.remarks).encode("utf-8", BYTES),
        }
        return {name: data for name, data in files.items() if data}

    def bring_in(
        self,
        study_file: Path,
        compose: Callable[[Path], str],
        overrides: Mapping[str, Any],
        say: Say,
    ) -> None:
        """Write the files into a folder beside the study file, and import what is there then.

        `compose` writes the study file where there is none. Raises InputError where a study file
        that is there has no room.
        """
        open_study(study_file, overrides, compose, say)
        folder = study_file.with_name(f"{study_file.stem}.published")
        Delivery(folder, f"import {self.publication}").hand_over(self.files)
        self._tell(folder / REMARKS, say)
        if self.courses:
            import_courses(folder / COURSES, study_file, overrides, say)
        if self.sessions:
            import_sessions(folder / SESSIONS, study_file, overrides, say)
        if self.ratings:
            file, known = folder / RATINGS, self._judged()
            import_ratings(
                file, study_file, None, None, None, overrides, say, complete=True, published=known
            )

    def _judged(self) -> Ratings:
        mapping = load_mapping(self.publication)
        return Ratings(str(mapping.constants["judge"]), self.publication)

    def _tell(self, file: Path, say: Say) -> None:
        """What could not be read, a line each; of the rest how much there is of each kind, but for
        what the lines of sessions say, whose import counts it.
        """
        lost = [remark for remark in self.remarks if remark.lost]
        for remark in lost:
            say(str(remark))
        if lost:
            say(f"not imported: {len(lost)}")
        others = (one for one in self.remarks if not one.lost and one not in self.told)
        counts = Counter(one.reason for one in others)
        counts.subtract(
            said for line in (*self.courses, *self.sessions) for said in line["remarks"]
        )
        for reason, count in (+counts).most_common():
            say(f"imported, but {reason}: {count}")
        if self.remarks:
            say(f"file and line of each: {file}")


BYTES = "backslashreplace"
"""Names of files may hold any bytes."""


def _jsonl(lines: Iterable[Line]) -> bytes:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return text.encode("utf-8", BYTES)
