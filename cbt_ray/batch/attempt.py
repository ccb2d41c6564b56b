"""Attempts: what became of each run of a job's container, written to the store, since a RayJob
reports every failure as 1.

<study>/attempts/<submission>/<number>    one record: attempt, exit code, the line that says why,
seconds

A submission is one object in the cluster. Its attempts end for good with a 0, 2 or 3: what needs
the user is not tried again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from cbt_ray.errors import BelowMinimum, InputError
from cbt_ray.store import Store

SUBMISSION = "CBT_RAY_SUBMISSION"
"""Names, in a container's environment, the object in the cluster that it belongs to; without it, an
attempt leaves no record."""
FINAL = (InputError.exit_code, BelowMinimum.exit_code)
"""Exit codes that no further attempt can change."""


@dataclass(frozen=True)
class Attempt:
    """One run of a job's container, from its start to its own end.

    One that was killed leaves no record.
    """

    attempt: int
    code: int
    message: str
    seconds: float


class Attempts:
    """The attempts of one submission."""

    def __init__(self, store: Store, study: str, submission: str) -> None:
        self.store = store
        self.folder = f"{study}/attempts/{submission}/"

    def all(self) -> list[Attempt]:
        """All attempts that came to an end, in order; a torn record is left out."""
        found = []
        for path in self.store.list(self.folder):
            try:
                found.append(Attempt(**json.loads(self.store.read(path) or b"")))
            except (ValueError, TypeError):
                continue
        return sorted(found, key=lambda attempt: attempt.attempt)

    def last(self) -> Attempt | None:
        """The last attempt that came to an end."""
        return next(reversed(self.all()), None)

    def verdict(self) -> Attempt | None:
        """The attempt that ended the matter with 2 or 3: none may follow it."""
        return next((attempt for attempt in self.all() if attempt.code in FINAL), None)

    def write(self, code: int, message: str, seconds: float) -> Attempt:
        """Write down how an attempt ended, under the next number that is free: two attempts may
        overlap.
        """
        number = len(list(self.store.list(self.folder))) + 1
        while True:
            record = Attempt(number, code, message, round(seconds, 1))
            if self.store.create(f"{self.folder}{number:04d}", json.dumps(asdict(record)).encode()):
                return record
            number += 1
