"""The workshop: what a process that makes units holds once, for all its jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from cbt_ray.cache import cache_folder, locked
from cbt_ray.llm.gate import Gate
from cbt_ray.llm.models import Models
from cbt_ray.llm.request import Usage
from cbt_ray.prompts import Prompts
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.store import Blob, Store, open_store
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import Study
from cbt_ray.therapy.language import load_language
from cbt_ray.unit import Key
from cbt_ray.work.keys import Keys
from cbt_ray.work.usage import record_calls

WRITERS = 32
"""Records that a process writes at once when it has to end."""


@dataclass(frozen=True)
class Setting:
    """What a worker needs to set up its workshop."""

    study: Study
    store: str
    roles: tuple[str, ...]
    """The roles of the stage; models of other roles are closed."""


@dataclass
class Workshop:
    """What all jobs of a process share: it is only read, or safe for threads."""

    study: Study
    store: Store
    gate: Gate
    roles: tuple[str, ...] = ()
    """Those that its models are opened for."""
    prompts: Prompts = field(init=False)
    keys: Keys = field(init=False)
    models: Models = field(init=False)

    def __post_init__(self) -> None:
        self.prompts = prompts_of(self.study)
        self.keys = Keys(self.study, self.prompts)
        self.models = Models(self.study.endpoints, self.gate, self.study.told_date)
        # What reading them tries out runs in a fork, which is for a process of one thread.
        load_language(self.prompts)
        for judge in self.study.judges.values():
            load_scales(self.prompts, judge.scales)
        self._files: dict[str, Path] = {}
        self._lock = Lock()
        self._under_way: dict[Key, Callable[[], Usage]] = {}
        self._ending: set[Key] = set()

    def file(self, blob: Blob, owner: Key) -> Path:
        """A unit's blob as a local file, its SHA-256 checked once a process.

        Fetched once a machine from a store elsewhere.
        """
        with self._lock:
            if blob.path not in self._files:
                self._files[blob.path] = local_file(self.store, blob, owner)
            return self._files[blob.path]

    def begin(self, key: Key, cost: Callable[[], Usage]) -> None:
        """A unit is under way; `cost` tells what it has cost so far."""
        self._under_way[key] = cost

    def end(self, key: Key, outcome: str) -> Usage:
        """A unit is not under way any more: write down what it cost, once, and answer it."""
        self._ending.add(key)
        try:
            cost = self._under_way.pop(key, None)
            usage = cost() if cost is not None else Usage()
            record_calls(self.store, key, usage, outcome)
            return usage
        finally:
            self._ending.discard(key)

    def abandon(self) -> None:
        """Write down what the units under way have cost: this process has to end, within a few
        seconds.

        No further call begins, and records that other threads write are waited for.
        """
        self.gate.halt("the process has to end")
        with ThreadPoolExecutor(WRITERS) as pool:
            pool.map(lambda key: self.end(key, "owed"), list(self._under_way))
        while self._ending:
            time.sleep(0.01)


def workshop_of(setting: Setting, gate: Gate) -> Workshop:
    """The workshop of this process; one of another gate, or for other roles, is closed."""
    with _opening:
        known = _workshops.get("here")
        if known is None or known.gate is not gate or known.roles != setting.roles:
            if known is not None:
                known.models.close()
            store = open_store(setting.store)
            known = _workshops["here"] = Workshop(setting.study, store, gate, setting.roles)
        return known


_workshops: dict[str, Workshop] = {}
_opening = Lock()


def abandon() -> None:
    """Write down what the units under way in this process have cost."""
    for shop in _workshops.values():
        shop.abandon()


def prompts_of(study: Study) -> Prompts:
    """The prompts that a study uses."""
    return Prompts.beside(study.file, study.prompts, study.language)


def local_file(store: Store, blob: Blob, owner: Key | None = None) -> Path:
    """A blob as a local file, its SHA-256 checked: read in place in a folder store, fetched once a
    machine from one elsewhere.
    """
    if isinstance(store, FolderStore):
        return store.fetch_blob(blob, store.root / blob.path, owner)
    cache = (
        cache_folder() / "blobs" / blob.sha256[:2] / f"{blob.sha256}-{blob.path.rsplit('-', 1)[-1]}"
    )
    with locked(cache.with_suffix(".lock")):
        return store.fetch_blob(blob, cache, owner)
