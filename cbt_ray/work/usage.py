"""What a study has cost so far: one record in the store for each attempt at a unit and for each run
of a stage.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from typing import Any

from cbt_ray.llm.request import Usage
from cbt_ray.store import Store
from cbt_ray.unit import Key, Stage


def record_calls(store: Store, key: Key, usage: Usage, outcome: str) -> None:
    """Write down what one attempt at a unit cost, whatever came of it (done, rejected, owed).

    Nothing where no call was made.
    """
    if usage.calls:
        _write(
            store,
            key.study,
            key.stage,
            {"key": str(key), "outcome": outcome, "usage": usage.to_json()},
        )


def record_run(store: Store, study: str, stage: Stage, seconds: float) -> None:
    """Write down how long a run of a stage took, wall seconds."""
    _write(store, study, stage, {"wall_seconds": seconds})


def _write(store: Store, study: str, stage: Stage, record: dict[str, Any]) -> None:
    store.create(f"{study}/usage/{stage}/{uuid.uuid4().hex}", json.dumps(record).encode())


class Costs:
    """Sums over all records of a study, by stage."""

    def __init__(self, store: Store, study: str) -> None:
        self.usage: dict[str, Usage] = defaultdict(Usage)
        self.wall: dict[str, float] = defaultdict(float)
        self._store, self._study = store, study
        self._read: set[str] = set()
        self.renew()

    def renew(self) -> None:
        """Add the records that are new: none is ever changed."""
        store = self._store
        paths = [one for one in store.list(f"{self._study}/usage/") if one not in self._read]
        self._read.update(paths)
        for path, data in zip(paths, store.objects(paths), strict=True):
            try:
                record = json.loads(data or b"")
                stage = path.split("/")[2]
                if "usage" in record:
                    self.usage[stage].add(Usage.from_json(record["usage"]))
                else:
                    self.wall[stage] += record["wall_seconds"]
            except (ValueError, TypeError, KeyError):
                continue  # a torn record costs its own count and nothing else

    @property
    def total(self) -> Usage:
        """All stages together."""
        total = Usage()
        for usage in self.usage.values():
            total.add(usage)
        return total

    def to_json(self) -> dict[str, Any]:
        """For the report: stage to calls, tokens, dollars, seconds and faults."""
        stages = [stage for stage in Stage if stage in self.usage or stage in self.wall]
        return {
            stage: {**self.usage[stage].to_json(), "wall_seconds": self.wall[stage]}
            for stage in stages
        }
