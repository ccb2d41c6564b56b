"""Transcripts: sessions as the viewer takes them, packed into chunks that are read only when a
session of theirs is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from cbt_ray.rating.probe import VIEW
from cbt_ray.report.data import ReportedRating, ReportedSession

Where = Literal["inside", "beside", "none"]
"""Where the transcripts lie: in the page, in files beside it, or nowhere."""
INSIDE_UP_TO = 2_000_000
"""Characters of texts and ratings up to which they go into the page unless told otherwise: above 5
MB it opens slowly."""
CHUNK = 500_000
"""Characters of a chunk."""
FOLDER = "report.transcripts"
CALL = "cbtRayTranscripts"
"""The page's function that a file of transcripts calls: the one thing that a page opened from a
disk can load."""


@dataclass(frozen=True)
class Chunk:
    """Some sessions' texts and ratings."""

    number: int
    sessions: str
    """JSON: session key -> its text and ratings."""

    @property
    def file(self) -> str:
        """Its name beside the page."""
        return f"{FOLDER}/{self.number:03d}.js"

    def script(self, page: str) -> str:
        """The file's text.

        `page` ties it to its page, so that a page never shows another one's transcripts.
        """
        return f"{CALL}({json.dumps(page)},{self.number},{escaped(self.sessions)});\n"


@dataclass(frozen=True)
class Packed:
    """All sessions, ready for the page."""

    index: Sequence[Mapping[str, object]]
    """What the list and the filters show of each session, and which chunk holds it."""
    chunks: Sequence[Chunk]
    id: str
    """Digest of the texts."""

    @property
    def where(self) -> Where:
        """Where they go unless told otherwise."""
        return (
            "inside"
            if sum(len(chunk.sessions) for chunk in self.chunks) <= INSIDE_UP_TO
            else "beside"
        )


def packed(sessions: Sequence[ReportedSession], view: str, judge: str) -> Packed:
    """Index and chunks; the totals of the index are those of the headline's view and judge."""
    chunks = list(_chunks(sessions))
    chunk_of = {key: chunk.number for chunk, keys in chunks for key in keys}
    index = [_entry(session, chunk_of[session.key], view, judge) for session in sessions]
    digest = hashlib.sha256("".join(chunk.sessions for chunk, _ in chunks).encode())
    return Packed(index, [chunk for chunk, _ in chunks], digest.hexdigest()[:16])


def _entry(session: ReportedSession, chunk: int, view: str, judge: str) -> dict[str, object]:
    totals = [
        r.total
        for r in session.ratings
        if r.total is not None and (r.view, r.judge) == (view, judge)
    ]
    entry = {
        "key": session.key,
        "arm": session.arm,
        "patient": session.patient,
        "replicate": session.replicate,
        "number": session.number,
        "phase": session.phase,
        "stop": session.stop_reason,
        "flags": list(session.flags),
        "total": round(sum(totals) / len(totals), 2) if totals else None,
        "reason": session.reason
        or (None if totals else next((r.reason for r in session.ratings if r.reason), None)),
        "chunk": chunk,
    }
    return {name: value for name, value in entry.items() if value not in (None, [])}


def _chunks(sessions: Sequence[ReportedSession]) -> Iterator[tuple[Chunk, list[str]]]:
    """Sessions in their order, so that a chain lies in one chunk or in neighbours."""
    number, size = 0, 0
    texts: dict[str, str] = {}
    for session in sessions:
        text = json.dumps(_text(session), ensure_ascii=False, separators=(",", ":"))
        if texts and size + len(text) > CHUNK:
            yield _chunk(number, texts)
            number, size, texts = number + 1, 0, {}
        texts[session.key] = text
        size += len(text)
    if texts:
        yield _chunk(number, texts)


def _chunk(number: int, texts: Mapping[str, str]) -> tuple[Chunk, list[str]]:
    body = ",".join(f"{json.dumps(key, ensure_ascii=False)}:{text}" for key, text in texts.items())
    return Chunk(number, f"{{{body}}}"), list(texts)


def _text(session: ReportedSession) -> dict[str, object]:
    said = session.session.to_json() if session.session else None
    return {"session": said, "ratings": [_rating(rating) for rating in session.ratings]}


def _rating(rating: ReportedRating) -> dict[str, object]:
    told = {
        "name": name_of(rating),
        "total": rating.total,
        "reason": rating.reason,
        "note": rating.note,
        "items": {item: _without_nothing(vars(found)) for item, found in rating.items.items()},
    }
    return _without_nothing(told)


def _without_nothing(mapping: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in mapping.items() if value is not None and value != ""}


def name_of(rating: ReportedRating) -> str:
    """Who rated what, in words."""
    if rating.view.startswith(VIEW):
        return f"{rating.judge}, probe: {rating.view.removeprefix(VIEW).replace('_', ' ')}"
    who = f"{rating.judge} (human)" if rating.kind == "human" else rating.judge
    return f"{who}, {rating.view} view, replicate {rating.judge_replicate}"


def escaped(document: str) -> Markup:
    """JSON for a script: no character in it can end the element, begin a tag or a line."""
    for character in "<>&\u2028\u2029":
        document = document.replace(character, f"\\u{ord(character):04x}")
    return Markup(document)  # noqa: S704  escaped for its place on the lines above
