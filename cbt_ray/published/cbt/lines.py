"""What was read, in the forms that `import` takes from anybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cbt_ray.count import many
from cbt_ray.published.cbt.publication import (
    Course,
    CourseFile,
    ProfileFile,
    Published,
    SessionFile,
)
from cbt_ray.published.cbt.score_table import ITEMS, PublishedRating, scores_of
from cbt_ray.published.remark import Remark
from cbt_ray.published.source import Source
from cbt_ray.rating.view import Strip, judged_turns
from cbt_ray.study.split import profile_id
from cbt_ray.therapy.session import Session, Speaker

JUDGE, VIEW = "published", "plain"
STRIP: Strip = "paper"
_FIRST_LINE = re.compile(r"^\s*Patient:.*$", re.MULTILINE)
Line = dict[str, Any]
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


def course_lines(published: Published, commit: str | None) -> Iterator[Line]:
    """A line a course session; the first of a course has the patient's profile."""
    for number, course in enumerate(published.courses, 1):
        profile = course.profile
        for session, file in course.sessions.items():
            line = _course_session(course, session, file, commit)
            own = {"profile": _profile(profile)} if profile else {}
            yield {"patient_id": profile_id(number), **line, **own}
            profile = None


def _course_session(course: Course, number: int, file: CourseFile, commit: str | None) -> Line:
    written = file.session.written
    return {
        "patient": course.name,
        "number": number,
        "opening": written.opening,
        "turns": [turn.to_json() for turn in written.turns],
        "summary": written.summary,
        **_origin(file.source, file.session.remarks, commit),
    }


def _profile(profile: ProfileFile) -> Line:
    known = {
        CHARACTERISTICS.get(name, name): LIST.join(map(str, value))
        if isinstance(value, list)
        else str(value)
        for name, value in profile.characteristics.items()
    }
    return {"narrative": profile.text, "characteristics": known}


def session_lines(published: Published, commit: str | None) -> Iterator[Line]:
    """A line a simulated session."""
    for chain in published.chains:
        for number, file in chain.sessions.items():
            written = file.session.written
            yield {
                "arm": chain.group.arm,
                "patient": chain.patient,
                "number": number,
                "opening": written.opening,
                "turns": [turn.to_json() for turn in written.turns],
                "summary": written.summary,
                "stop": file.session.stop,
                "details": ": ".join(written.stopped or ()),
                **_origin(file.source, file.session.remarks, commit),
            }


def _origin(source: Source, remarks: Iterable[Remark], commit: str | None) -> Line:
    said = [remark.reason for remark in remarks]
    return {"source": source.origin(commit), "remarks": said}


def rating_rows(published: Published, remarks: list[Remark]) -> list[dict[str, str]]:
    """A row a rating of a session whose transcript is here; the others are counted."""
    held: dict[tuple[str, str], list[tuple[Mapping[str, str], SessionFile]]] = {}
    for chain in published.chains:
        for number, file in chain.sessions.items():
            place = {"arm": chain.group.arm, "patient": chain.patient, "session": str(number)}
            held.setdefault((chain.group.folder, file.id), []).append((place, file))
    rows: list[dict[str, str]] = []
    elsewhere: dict[str, int] = {}
    for name, rating in published.ratings.items():
        found = held.get(name, [])
        if len(found) == 1:
            rows.append({**found[0][0], **_rating(rating, *found[0], remarks)})
        elif found:
            said = f"{many(len(found), 'session')} of its group have this id"
            remarks.append(Remark(rating.file, rating.line, said, lost=True))
        else:
            elsewhere[rating.file] = elsewhere.get(rating.file, 0) + 1
    for table, count in sorted(elsewhere.items()):
        said = f"{many(count, 'rating')} of sessions whose transcripts are not here"
        remarks.append(Remark(table, 0, said, lost=True))
    return rows


def _rating(
    rating: PublishedRating, place: Mapping[str, str], file: SessionFile, remarks: list[Remark]
) -> dict[str, str]:
    if rating.patient is not None and rating.patient != place["patient"]:
        said = "its patient_id is not the patient of the session's folder, which counts"
        remarks.append(Remark(rating.file, rating.line, said))
    written = file.session.written
    session = Session("", 1, "", written.opening, written.turns, written.summary)
    if not any(turn.speaker is Speaker.THERAPIST for turn in judged_turns(session, STRIP)):
        said = "rated, though nothing of the therapist's was left in what its judge saw"
        remarks.append(Remark(file.source.path, 0, said))
    scores, reasons = scores_of(rating, remarks)
    return {
        "judge": JUDGE,
        "kind": "model",
        "view": VIEW,
        "strip": STRIP,
        "opening_read": str(opening_left(file.source.text, written.opening)).lower(),
        "source": f"{rating.file}:{rating.line}",
        **scores,
        "justifications": _object({name: rating.justifications.get(name, "") for name in ITEMS}),
        "reasons": _object(reasons),
    }


def opening_left(text: str, opening: str) -> bool:
    """Whether the public code left of the summary of the session before what it gave to its judge.

    It took out the first line of the patient's first message, and the summary is many lines.
    """
    first = _FIRST_LINE.search(text)
    last = opening.strip().rpartition("\n")[2]
    return bool(last) and first is not None and last in text[first.end() :]


def _object(texts: Mapping[str, str]) -> str:
    return json.dumps({name: text for name, text in texts.items() if text}, ensure_ascii=False)
