"""Where units are made: a study with its store, keys and models, in one process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cbt_ray.errors import CbtRayError, Infrastructure, ModelFailure, Owed
from cbt_ray.llm.caller import Caller
from cbt_ray.llm.meter import Gate
from cbt_ray.llm.models import Models
from cbt_ray.llm.request import Ask, Reply, Request, Usage
from cbt_ray.prompts import Prompts
from cbt_ray.reading import located
from cbt_ray.store import Blob, Store, open_store
from cbt_ray.store.folder import FolderStore
from cbt_ray.study import Study
from cbt_ray.study.endpoint import Role
from cbt_ray.study.model import Arm, Checkpoint, seed_suffix
from cbt_ray.therapy.dialogue import FilledRole
from cbt_ray.unit import Key, Status, Unit
from cbt_ray.work.keys import Keys
from cbt_ray.work.origin import Origins
from cbt_ray.work.usage import record_calls

Note = Callable[[str, str], None]
"""Called for each unit that is settled or moved aside: its key and what became of it."""


def silent(_key: str, _outcome: str) -> None:
    """Note nothing."""


@dataclass
class Workplace:
    """What making a unit takes. One a process; models stay open between units."""

    study: Study
    store: Store
    meter: Gate
    note: Note = silent
    prompts: Prompts = field(init=False)
    keys: Keys = field(init=False)
    models: Models = field(init=False)
    origins: Origins = field(init=False)

    def __post_init__(self) -> None:
        self.prompts = prompts_of(self.study)
        self.keys = Keys(self.study, self.prompts)
        self.models = Models(self.study.endpoints, self.meter, self.study.told_date)
        self.origins = Origins(self.keys, self.store, lambda key, why: self.note(key, why))
        self._files: dict[str, Path] = {}
        self._callers: dict[tuple[str, Path | None], Caller] = {}
        self._reported: dict[str, str] = {}
        self._settled: set[Key] = set()
        self._thoughts: dict[str, list[str]] = {}

    # ---- models ----------------------------------------------------------------------------------

    def filled(self, name: str) -> FilledRole:
        """A role (generator, patient, summariser) or a rater, with the model behind it."""
        role = self.study.role(name)
        return FilledRole(role, self._ask(role, name, None))

    def therapist(self, arm: Arm, seed: int = 0) -> FilledRole:
        """An arm's therapist; a GGUF of the finetune stage is brought to this machine first."""
        role = self.study.therapist(arm)
        made = self.keys.made_for(arm, seed) if self.keys.uses_gguf(arm) else None
        gguf = self.gguf(made) if made else None
        name = f"therapist.{arm.name}{seed_suffix(seed)}"
        if any(other.startswith("therapist.") and other != name for other, _ in self._callers):
            self.close()  # one arm's weights at a time: two 8 GB models need not fit side by side
        return FilledRole(role, self._ask(role, name, gguf))

    def close(self) -> None:
        """Close all models."""
        self._callers.clear()
        self.models.keep([])

    def _ask(self, role: Role, name: str, gguf: Path | None) -> Ask:
        caller = self._callers.get((name, gguf))
        if caller is None:
            caller = self._callers[name, gguf] = self.models.open(role.endpoint, name, gguf)

        def ask(request: Request) -> Reply:
            reply = caller(request)
            self._reported[name] = reply.model
            if reply.reasoning:
                self._thoughts.setdefault(name, []).append(reply.reasoning)
            return reply

        return ask

    def _take_usage(self) -> Usage:
        """What calls cost since the last unit."""
        total = Usage()
        for caller in self._callers.values():
            total.add(caller.take_usage())
        return total

    def gguf(self, made: Checkpoint) -> Path:
        """The GGUF that the finetune stage exported, on this machine.

        Infrastructure where it is owed.
        """
        unit = self.model(made)
        return self.file(Blob.from_json(unit.content["gguf"]), unit.key)

    def model(self, made: Checkpoint) -> Unit:
        """What the finetune stage made of a model; Infrastructure where it is owed."""
        key = self.keys.finetune(made)
        unit = self.store.get(key)
        if unit is None or unit.status is not Status.DONE:
            raise Infrastructure(f"{key}: owed; train first", "owed")
        return unit

    def file(self, blob: Blob, owner: Key) -> Path:
        """A unit's blob as a local file, its SHA-256 checked once a process.

        Fetched once a machine from a store elsewhere.
        """
        if blob.path not in self._files:
            self._files[blob.path] = local_file(self.store, blob, owner)
        return self._files[blob.path]

    # ---- units -----------------------------------------------------------------------------------

    def make(
        self,
        key: Key,
        inputs: Iterable[Unit],
        produce: Callable[[], dict[str, Any]],
    ) -> Unit:
        """The unit under a key: read, or made by `produce` from the inputs and written once.

        One that was made from other inputs is moved aside first. A ModelFailure makes a rejected
        unit. Anything else leaves it owed and passes through. What the calls cost is written down
        in each case.
        """
        if self.keys.is_imported(key):
            return self.known(key)
        units = tuple(inputs)
        made_from = self.origins.record(key, units)
        unit = self.origins.current(key, made_from)
        if unit is None:
            unit = self._make(key, made_from, produce)
        elif not self._settled & {one.key for one in units}:
            return unit
        self._settled.add(key)  # made now, or kept since what it was made from came out as it was
        self.note(str(key), unit.status)
        return unit

    def known(self, key: Key) -> Unit:
        """A unit that others made; raises Owed where it is not there."""
        unit = self.store.get(key)
        if unit is None:
            raise Owed(f"{key}: owed")
        return unit

    def _make(
        self,
        key: Key,
        made_from: dict[str, str],
        produce: Callable[[], dict[str, Any]],
    ) -> Unit:
        begun, status, reason = time.monotonic(), Status.DONE, None
        self._reported.clear()
        self._thoughts.clear()
        self._take_usage()
        try:
            content = produce()
        except ModelFailure as failure:
            content, status, reason = {"detail": str(failure)}, Status.REJECTED, failure.reason
        except BaseException:
            record_calls(self.store, key, self._take_usage(), "owed")
            raise
        usage = self._take_usage()
        record_calls(self.store, key, usage, status)
        provenance = self._provenance(usage, time.monotonic() - begun)
        return self.origins.put(Unit(key, content, status, reason, provenance, made_from=made_from))

    def _provenance(self, usage: Usage, seconds: float) -> dict[str, Any]:
        return {
            "cbt_ray": version("cbt-ray"),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "usage": usage.to_json(),
            "models": dict(self._reported),
            # Kept, and in no content: what a model only thought is read by no other model and by no
            # later stage.
            **(
                {"reasoning": {name: list(texts) for name, texts in self._thoughts.items()}}
                if self._thoughts
                else {}
            ),
        }


@dataclass(frozen=True)
class Spec:
    """What a worker needs to set up its workplace; travels with each task."""

    study: Study
    store: str
    meter: Gate
    note: Note
    roles: tuple[str, ...]
    """The roles of the stage; models of other roles are closed."""
    run: str
    """Names the run: a new run has a new meter, and so a new workplace."""

    def workplace(self) -> Workplace:
        """The workplace of this process for the study, kept between tasks so that models stay
        open.
        """
        known = _workplaces.get("here")
        if known is None or known[0] != (self.run, self.roles):
            if known is not None:
                known[1].close()
            place = Workplace(self.study, open_store(self.store), self.meter, self.note)
            known = _workplaces["here"] = ((self.run, self.roles), place)
        known[1].note = self.note
        return known[1]


_workplaces: dict[str, tuple[tuple[str, tuple[str, ...]], Workplace]] = {}


def prompts_of(study: Study) -> Prompts:
    """The prompts that a study uses: its own folder, if it names one, before the project's of its
    language.
    """
    own = located(study.prompts, study.file.parent) if study.prompts else None
    return Prompts(own, study.language)


def cache_folder() -> Path:
    """Where this machine keeps what it can fetch again; CBT_RAY_CACHE moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cbt-ray"
    return Path(os.environ.get("CBT_RAY_CACHE") or default)


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


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that all processes of this machine share."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def reason_of(error: CbtRayError) -> str:
    """One line for a unit that stays owed."""
    return f"{error.kind}: {error}" if isinstance(error, Infrastructure) else str(error)
