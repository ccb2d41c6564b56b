"""A unit of work: its key, its seed and the document that holds it.

A key is `<study>/<stage>/<readable id>/<h16>`. h16 hashes what determines the unit: the keys of its inputs (never the contents
of sampled text), prompt hashes, the model's identity and sampling, the study's seed. Where and how fast it runs is not in it,
so keys can be derived from a study file alone, before anything ran.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FORMAT = 1


class Stage(StrEnum):
    """The stages in the order in which data flows through them."""

    PROFILES = "profiles"
    COURSES = "courses"
    DATASET = "dataset"
    FINETUNE = "finetune"
    SESSIONS = "sessions"
    RATINGS = "ratings"
    ANALYSIS = "analysis"
    REPORT = "report"


class Status(StrEnum):
    """What became of a unit that is in the store; one that is absent is owed."""

    DONE = "done"
    REJECTED = "rejected"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no blanks: the same bytes for the same value everywhere.

    Half a surrogate pair, which a model can write into JSON, becomes a question mark.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


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

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a key back from its text; raises ValueError where it is none."""
        study, stage, id_, h16 = text.split("/")
        return cls(study, Stage(stage), id_, h16)

    def seed(self, study_seed: int, *more: object) -> int:
        """The unit's random seed, 31 bits: hash(study seed, key, and what tells draws inside the unit apart)."""
        return seed_of(study_seed, str(self), *map(str, more))


@dataclass(frozen=True)
class Unit:
    """One finished unit of work, done or rejected.

    `content` is what the next stage reads and is reproducible under a scripted model; `provenance` says what made it
    (versions, prompt hashes, model ids, token counts, cost, time) and differs between runs.
    """

    key: Key
    content: dict[str, Any]
    status: Status = Status.DONE
    reason: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The document as it is stored: one JSON object with the SHA-256 of its body."""
        body = {"key": str(self.key), "content": self.content, "provenance": self.provenance}
        head = {"format": FORMAT, "status": self.status, "reason": self.reason}
        sha = hashlib.sha256(canonical([head, body])).hexdigest()
        return json.dumps({**head, "sha256": sha, **body}, ensure_ascii=False, indent=1).encode(errors="replace") + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Unit:
        """Read a stored document; raises ValueError where it is torn or its checksum fails."""
        try:
            document = json.loads(data)
            head = {name: document[name] for name in ("format", "status", "reason")}
            body = {name: document[name] for name in ("key", "content", "provenance")}
            sha = document["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"no unit document: {error}") from error
        if hashlib.sha256(canonical([head, body])).hexdigest() != sha:
            raise ValueError("checksum fails")
        return cls(Key.parse(body["key"]), body["content"], Status(head["status"]), head["reason"], body["provenance"])
