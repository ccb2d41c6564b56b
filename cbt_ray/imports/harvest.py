"""A harvest: what was published, as units of a study that fits it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cbt_ray.imports.group import Group
from cbt_ray.imports.published import (
    Course,
    CourseFile,
    ProfileFile,
    Published,
    SessionFile,
    SimulatedChain,
)
from cbt_ray.imports.remark import Remark
from cbt_ray.imports.score_table import PublishedRating, items_of
from cbt_ray.imports.units import absent_unit, imported_unit, made_by, source_of
from cbt_ray.rating.scale import Scale
from cbt_ray.rating.view import judged_turns
from cbt_ray.study import Study
from cbt_ray.study.model import Arm
from cbt_ray.study.scheduled import session_id
from cbt_ray.therapy.session import Session, Speaker
from cbt_ray.unit import Stage, Unit
from cbt_ray.work.keys import course_id, profile_id
from cbt_ray.work.rating_id import rating_id

JUDGE, VIEW = "published", "plain"
Held = dict[tuple[str, str], list[tuple[Unit, SessionFile]]]
"""Group's folder and session id -> the sessions of that name."""
LIST = "; "
"""Between the levels of a characteristic that has several."""
CHARACTERISTICS = {
    "Age": "age_band",
    "Gender": "gender",
    "Ethnicity": "ethnicity",
    "Education": "education",
    "Occupation": "occupation",
    "Symptom_Severity": "symptom_severity",
    "Engagement_Level": "engagement",
    "Life_Events": "life_events",
    "Family_Background": "family_background",
    "Hobbies_Interests": "hobbies",
    "Social_Support": "social_support",
    "Personality_Traits": "personality",
    "Coping_Mechanisms": "coping",
}
"""The published names of the 13 characteristics -> ours."""
_FIRST_LINE = re.compile(r"^\s*Patient:.*$", re.MULTILINE)


@dataclass
class Harvest:
    """Units of a study, and what is to be said about them."""

    study: Study
    scale: Scale
    commit: str | None = None
    units: list[Unit] = field(default_factory=list)
    ratings: list[Unit] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def take(self, published: Published, arms: dict[str, Arm]) -> None:
        """Make units of everything.

        `arms` says for each group's folder which arm of the study it is.
        """
        for number, course in enumerate(published.courses, 1):
            self.units += self._course(number, course)
        chains = {
            (arms[chain.group.folder].name, chain.patient): chain for chain in published.chains
        }
        held: Held = {}
        for arm in {arm.name: arm for arm in arms.values()}.values():
            for patient in range(len(self.study.patients.simulated)):
                self._chain(arm, patient, chains, held)
        self._rate(published, held)

    # ---- courses ---------------------------------------------------------------------------------

    def _course(self, number: int, course: Course) -> Iterator[Unit]:
        name = profile_id(number)
        yield (
            self._profile(name, course, course.profile)
            if course.profile
            else absent_unit(self.study, Stage.PROFILES, name)
        )
        for session in range(1, self.study.writing.courses.sessions + 1):
            file, own = course.sessions.get(session), course_id(number, session)
            yield (
                self._course_session(own, number, session, course, file)
                if file
                else absent_unit(self.study, Stage.COURSES, own)
            )

    def _profile(self, name: str, course: Course, file: ProfileFile) -> Unit:
        known = file.json.fields.get("characteristics")
        published: dict[str, Any] = known if isinstance(known, dict) else {}
        own = {
            CHARACTERISTICS.get(key, key): LIST.join(map(str, value))
            if isinstance(value, list)
            else str(value)
            for key, value in published.items()
        }
        source: dict[str, Any] = {
            "path": file.source.path,
            "style": file.json.style,
            "crlf": file.source.crlf,
        }
        if file.source.bom:
            source["bom"] = True
        source["lists"] = [
            CHARACTERISTICS.get(key, key)
            for key, value in published.items()
            if isinstance(value, list)
        ]
        source["names"] = {CHARACTERISTICS.get(key, key): key for key in published}
        content = {
            "name": course.name,
            "characteristics": own,
            "narrative": file.json.fields["profile"],
            "sent_back": {},
            "source": source,
        }
        return imported_unit(
            self.study, Stage.PROFILES, name, content, made_by(file.source, self.commit)
        )

    def _course_session(
        self, name: str, number: int, session: int, course: Course, file: CourseFile
    ) -> Unit:
        written = file.session.written
        own = Session(
            course.name,
            session,
            self.study.phase_of(session).name,
            written.opening,
            written.turns,
            written.summary,
        )
        fields = {
            key: value
            for key, value in file.json.fields.items()
            if key not in ("transcript", "word_count")
        }
        words = len(file.json.fields["transcript"].split())
        said = file.json.fields.get("word_count")
        if said != words:
            fields["word_count"] = said
        source = source_of(file.source, written, style=file.json.style, fields=fields)
        content = {
            **own.to_json(),
            "patient_id": profile_id(number),
            "sent_back": {},
            "source": source,
        }
        return imported_unit(
            self.study, Stage.COURSES, name, content, made_by(file.source, self.commit)
        )

    # ---- sessions --------------------------------------------------------------------------------

    def _chain(
        self, arm: Arm, patient: int, chains: dict[tuple[str, str], SimulatedChain], held: Held
    ) -> None:
        who = self.study.patients.simulated[patient]
        chain = chains.get((arm.name, who.name))
        for number in range(1, self.study.sessions.count + 1):
            name = session_id(arm, who, 1, number)
            file = chain.sessions.get(number) if chain else None
            if chain is None or file is None:
                self.units.append(absent_unit(self.study, Stage.SESSIONS, name))
                continue
            unit = self._session(name, arm, who.name, number, file)
            self.units.append(unit)
            held.setdefault((chain.group.folder, file.id), []).append((unit, file))

    def _session(self, name: str, arm: Arm, patient: str, number: int, file: SessionFile) -> Unit:
        written = file.session.written
        own = Session(
            patient,
            number,
            self.study.phase_of(number).name,
            written.opening,
            written.turns,
            written.summary,
        )
        source = source_of(file.source, written)
        content = {
            **own.to_json(),
            "arm": arm.name,
            "stop": file.session.stop,
            "cut": 0,
            "source": source,
        }
        return imported_unit(
            self.study, Stage.SESSIONS, name, content, made_by(file.source, self.commit)
        )

    # ---- ratings ---------------------------------------------------------------------------------

    def _rate(self, published: Published, held: Held) -> None:
        """The ratings of sessions whose transcripts are here; the others are counted."""
        elsewhere: dict[str, int] = {}
        for place, rating in published.ratings.items():
            found = held.get(place, [])
            if len(found) == 1:
                self.ratings.append(self._rating(rating, *found[0]))
            elif found:
                self.remarks.append(
                    Remark(
                        rating.file,
                        rating.line,
                        f"{len(found)} sessions of its group have this id",
                        lost=True,
                    )
                )
            else:
                elsewhere[rating.file] = elsewhere.get(rating.file, 0) + 1
        for file, count in sorted(elsewhere.items()):
            self.remarks.append(
                Remark(
                    file,
                    0,
                    f"{count} ratings of sessions whose transcripts are not here",
                    lost=True,
                )
            )

    def _rating(self, rating: PublishedRating, session: Unit, file: SessionFile) -> Unit:
        patient = session.content["patient"]
        if rating.patient is not None and rating.patient != patient:
            self.remarks.append(
                Remark(
                    rating.file,
                    rating.line,
                    "its patient_id is not the patient of the session's folder, which counts",
                )
            )
        seen = judged_turns(Session.from_json(session.content), "paper")
        if not any(turn.speaker is Speaker.THERAPIST for turn in seen):
            reason = "rated, though nothing of the therapist's was left in what its judge saw"
            self.remarks.append(Remark(file.source.path, 0, reason))
        items = items_of(rating, self.scale, self.remarks)
        measures = self.scale.values({name: item["score"] for name, item in items.items()})
        content = {
            "view": VIEW,
            "judge": JUDGE,
            "kind": "model",
            "judge_replicate": 1,
            "session": str(session.key),
            "strip": "paper",
            "opening_read": opening_left(file.source.text, session.content["opening"]),
            "items": items,
            "measures": {name: value.to_json() for name, value in measures.items()},
        }
        source = {
            "file": rating.file,
            "line": rating.line,
            **({"commit": self.commit} if self.commit else {}),
        }
        name = rating_id(session.key.id, JUDGE, VIEW, 1)
        return imported_unit(
            self.study, Stage.RATINGS, name, content, source, {str(session.key): session.digest}
        )


def opening_left(text: str, opening: str) -> bool:
    """Whether the public code left of the summary of the session before what it gave to its judge.

    It took out the first line of the patient's first message, and the summary is many lines.
    """
    first = _FIRST_LINE.search(text)
    last = opening.strip().rpartition("\n")[2]
    return bool(last) and first is not None and last in text[first.end() :]


def arms_of(study: Study, groups: list[Group]) -> dict[str, Arm | None]:
    """Group's folder -> the arm of the study that it is: by name, else the only one with its model
    and variant, else None.
    """
    found: dict[str, Arm | None] = {}
    for group in groups:
        named = [arm for arm in study.arms if arm.name == group.arm]
        alike = [
            arm
            for arm in study.arms
            if ((arm.model or "").lower(), arm.kind) == (group.model, group.variant)
        ]
        found[group.folder] = named[0] if named else alike[0] if len(alike) == 1 else None
    return found
