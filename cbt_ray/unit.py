"""A unit of work: its key, its seed and the document that holds it.

A key is `<study>/<stage>/<readable id>/<h16>`. h16 hashes what determines the unit: the keys of its
inputs (never the contents of sampled text), prompt hashes, the model's identity and sampling, the
study's seed. Where and how fast it runs is not in it, so keys can be derived from a study file
alone, before anything ran.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

FORMAT = 2


class Stage(StrEnum):
    """The stages in the order in which data flows through them."""

    PROFILES = "profiles"
    COURSES = "courses"
    PAIRS = "pairs"
    DATASET = "dataset"
    ADAPTER = "adapter"
    MODEL = "model"
    SESSIONS = "sessions"
    RATINGS = "ratings"
    ANALYSIS = "analysis"
    REPORT = "report"

    @property
    def command(self) -> str:
        """The command that makes its units."""
        return _COMMANDS[self]


_COMMANDS = {
    **dict.fromkeys((Stage.PROFILES, Stage.COURSES, Stage.PAIRS), "generate"),
    Stage.DATASET: "dataset",
    Stage.ADAPTER: "train",
    Stage.MODEL: "export",
    Stage.SESSIONS: "simulate",
    **dict.fromkeys((Stage.RATINGS, Stage.ANALYSIS), "evaluate"),
    Stage.REPORT: "report",
}


class Status(StrEnum):
    """What became of a unit that is in the store; one that is absent is owed."""

    DONE = "done"
    REJECTED = "rejected"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no blanks: the same bytes for the same value everywhere.

    Half a surrogate pair, which a model can write into JSON, becomes a question mark.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="replace"
    )


def digest(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(canonical(value)).hexdigest()[:16]


def seed_of(*parts: Any) -> int:
    """A random seed, 31 bits, that follows from its parts."""
    return int(digest(list(parts))[:8], 16) & 0x7FFFFFFF


@dataclass(frozen=True, order=True)
class Key:
    """Where a unit lies in the store: `<study>/<stage>/<id>/<h16>`."""

    study: str
    stage: Stage
    id: str
    h16: str

    def __str__(self) -> str:
        return f"{self.study}/{self.stage}/{self.id}/{self.h16}"

    def __hash__(self) -> int:
        return hash(self.h16)  # a digest of the rest; a large study asks a million times

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a key back from its text; raises ValueError where it is none."""
        study, stage, id_, h16 = text.split("/")
        return cls(study, Stage(stage), id_, h16)

    def seed(self, study_seed: int, *more: object) -> int:
        """The unit's random seed, 31 bits: hash(study seed, key, and what tells draws inside the
        unit apart).
        """
        return seed_of(study_seed, str(self), *map(str, more))


class OtherFormat(Exception):
    """A unit's document is of another release's format.

    Its text says which, and which was expected.
    """


@dataclass(frozen=True)
class Head:
    """What a unit's document says before its content: whose it is, what became of it, what it was
    made from.

    `digest` names what the unit says (status, reason and content); `made_from` holds the digests of
    the units that it was made from, by their keys, as they were when it was made.
    """

    key: Key
    status: Status
    reason: str | None
    digest: str
    made_from: Mapping[str, str]

    @classmethod
    def from_bytes(cls, data: bytes) -> Head:
        """Read the head of a stored document, whose checksum over all of it must hold.

        Raises ValueError where it is torn, OtherFormat where another release wrote it.
        """
        return cls._of(_lines(data)[0])

    @classmethod
    def _of(cls, line: bytes) -> Head:
        try:
            head = json.loads(b"{%b}" % line.removesuffix(b","))
            key, status = Key.parse(head["key"]), Status(head["status"])
            return cls(key, status, head["reason"], head["digest"], head["made_from"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no head of a unit: {error}") from error


@dataclass(frozen=True)
class Unit:
    """One finished unit of work, done or rejected.

    `content` is what the next stage reads and is reproducible under a scripted model; `provenance`
    says what made it (versions, prompt hashes, model ids, token counts, cost, time) and differs
    between runs. `made_from` are the digests of the units that it was made from, by their keys: who
    makes a unit has to say so.
    """

    key: Key
    content: dict[str, Any]
    status: Status = Status.DONE
    reason: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    made_from: Mapping[str, str] = field(kw_only=True)

    @cached_property
    def digest(self) -> str:
        """Sixteen digits that name what the unit says, whoever made it and when."""
        return digest([self.status, self.reason, self.content])

    @property
    def head(self) -> Head:
        """What a survey needs to know of it."""
        return Head(self.key, self.status, self.reason, self.digest, self.made_from)

    def to_bytes(self) -> bytes:
        """The document as it is stored: one JSON object.

        Its first line holds the SHA-256 of format and all other lines.
        """
        head: dict[str, Any] = {"key": str(self.key), "status": self.status, "reason": self.reason}
        head |= {"digest": self.digest, "made_from": dict(self.made_from)}
        parts = (_packed(self.content), _packed(self.provenance))
        lines = b'%b,\n"content":%b,\n"provenance":%b}\n' % (canonical(head)[1:-1], *parts)
        return b'{"format":%d,"sha256":"%b",\n%b' % (FORMAT, _sha256(FORMAT, lines), lines)

    @classmethod
    def from_bytes(cls, data: bytes) -> Unit:
        """Read a stored document.

        Raises ValueError where it is torn, OtherFormat where another release wrote it.
        """
        return cls._of(*_lines(data))

    @classmethod
    def without_content(cls, data: bytes) -> Unit:
        """A stored document but for its content, which is empty, in a fraction of the time."""
        head, _, provenance = _lines(data)
        return cls._of(head, b'"content":{},', provenance)

    @classmethod
    def _of(cls, first: bytes, content: bytes, provenance: bytes) -> Unit:
        head = Head._of(first)
        try:
            parts = [json.loads(part.partition(b":")[2][:-1]) for part in (content, provenance)]
        except (ValueError, RecursionError) as error:
            raise ValueError(f"no unit document: {error}") from error
        unit = cls(head.key, parts[0], head.status, head.reason, parts[1], made_from=head.made_from)
        unit.__dict__["digest"] = (
            head.digest
        )  # as it was computed when it was written; the checksum holds
        return unit


def _packed(value: Any) -> bytes:
    """JSON on one line, with keys in their order: what was imported is written again as it was."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


_FIRST = re.compile(rb'\{"format":(\d{1,9}),"sha256":"([0-9a-f]{64})",')


def _lines(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Head, content and provenance of a document whose checksum holds, each as its line."""
    first, _, rest = data.partition(b"\n")
    found = _FIRST.fullmatch(first)
    if found is None:
        _refuse_other_format(_format_of(data))
        raise ValueError("no unit document")
    number, sha = int(found[1]), found[2]
    if _sha256(number, rest) != sha:
        if _sha256(FORMAT, rest) != sha:  # where it holds, the number itself is harmed
            _refuse_other_format(number)
        raise ValueError("checksum fails")
    _refuse_other_format(number)
    head, content, provenance, _ = rest.split(b"\n")
    return head, content, provenance


def _sha256(number: int, lines: bytes) -> bytes:
    return hashlib.sha256(b"%d\n%b" % (number, lines)).hexdigest().encode()


def _format_of(data: bytes) -> object:
    """The number that a document of another shape gives as its format, if it is one at all."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document.get("format") if isinstance(document, dict) else None


def _refuse_other_format(number: object) -> None:
    if isinstance(number, int) and not isinstance(number, bool) and number != FORMAT:
        age = "a newer" if number > FORMAT else "an older"
        raise OtherFormat(f"written by {age} cbt-ray (format {number}), expected format {FORMAT}")
