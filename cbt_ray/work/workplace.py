"""Where units are made: a job's own place in the workshop of its process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from cbt_ray.errors import CbtRayError, Infrastructure, ModelFailure, Owed
from cbt_ray.llm.caller import Caller
from cbt_ray.llm.gate import Gate
from cbt_ray.llm.models import Made
from cbt_ray.llm.request import Ask, Reply, Request, Usage
from cbt_ray.store import Blob
from cbt_ray.study.endpoint import Role, VllmEndpoint
from cbt_ray.study.model import Arm, Checkpoint, seed_suffix
from cbt_ray.study.rater import Judge
from cbt_ray.study.scheduled import is_made
from cbt_ray.therapy.dialogue import FilledRole
from cbt_ray.unit import Key, Status, Unit
from cbt_ray.work.origin import Origins
from cbt_ray.work.served import served
from cbt_ray.work.workshop import Setting, Workshop, workshop_of

Note = Callable[[str, str], None]
"""Called for each unit that is settled or moved aside: its key and what became of it."""


def silent(_key: str, _outcome: str) -> None:
    """Note nothing."""


THERAPIST = "therapist."
"""What the name of an arm's therapist begins with, among the models that a unit asked."""


@dataclass
class Workplace:
    """One job's place in a workshop: its models' callers, and what they said."""

    shop: Workshop
    note: Note = silent

    def __post_init__(self) -> None:
        self.study, self.store = self.shop.study, self.shop.store
        self.prompts, self.keys = self.shop.prompts, self.shop.keys
        self.origins = Origins(self.keys, self.store, lambda key, why: self.note(key, why))
        self._callers: dict[tuple[str, str, Made], Caller] = {}
        self._reported: dict[str, str] = {}
        self._llama_cpp = ""
        self._settled: set[Key] = set()
        self._thoughts: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._callers:
            self.shop.models.release(*opened)
        self._callers.clear()

    # ---- models ----------------------------------------------------------------------------------

    def filled(self, name: str) -> FilledRole:
        """A role (generator, patient, summariser) or a rater, with its model.

        An exported GGUF is brought to this machine first.
        """
        role = self.study.role(name)
        made = role.made if isinstance(role, Judge) else None
        return FilledRole(role, self._ask(role, name, self._made(role, made)))

    def therapist(self, arm: Arm, seed: int = 0) -> FilledRole:
        """An arm's therapist; a GGUF of the export is brought to this machine first."""
        role = self.study.therapist(arm)
        made = self._made(role, self.keys.made_for(arm, seed)) if is_made(self.study, arm) else None
        name = f"{THERAPIST}{arm.name}{seed_suffix(seed)}"
        return FilledRole(role, self._ask(role, name, made))

    def _made(self, role: Role, checkpoint: Checkpoint | None) -> Made:
        """What answers for a checkpoint: its GGUF, or the server of vLLM that has it."""
        if checkpoint is None:
            return None
        if isinstance(self.study.endpoints[role.endpoint], VllmEndpoint):
            return served(self.keys, checkpoint, role.endpoint)
        return self.gguf(checkpoint)

    def _ask(self, role: Role, name: str, made: Made) -> Ask:
        opened = role.endpoint, name, made
        if opened not in self._callers:
            self._callers[opened] = self.shop.models.open(*opened)
        caller = self._callers[opened]

        def ask(request: Request) -> Reply:
            reply = caller(request)
            self._reported[name] = reply.model
            self._llama_cpp = reply.llama_cpp or self._llama_cpp
            if reply.reasoning and not name.startswith(THERAPIST):  # its turns keep it
                self._thoughts.setdefault(name, []).append(reply.reasoning)
            return reply

        return ask

    def _take_usage(self) -> Usage:
        """What calls cost since the last unit."""
        total = Usage()
        for caller in list(self._callers.values()):
            total.add(caller.take_usage())
        return total

    def gguf(self, made: Checkpoint) -> Path:
        """The GGUF that was exported, on this machine.

        Infrastructure where it is owed.
        """
        unit = self.model(made)
        return self.shop.file(Blob.from_json(unit.content["gguf"]), unit.key)

    def model(self, made: Checkpoint) -> Unit:
        """What was exported of a model; Infrastructure where it is owed."""
        key = self.keys.model(made)
        unit = self.store.get(key)
        if unit is None or unit.status is not Status.DONE:
            raise Infrastructure(f"{key}: owed; train first", "owed")
        return unit

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
            raise Owed(f"{key}: owed; `cbt-ray {key.stage.command}` makes it")
        return unit

    def _make(
        self,
        key: Key,
        made_from: dict[str, str],
        produce: Callable[[], dict[str, Any]],
    ) -> Unit:
        begun, status, reason = time.monotonic(), Status.DONE, None
        self._reported.clear()
        self._llama_cpp = ""
        self._thoughts.clear()
        self.shop.begin(key, self._take_usage)
        try:
            content = produce()
        except ModelFailure as failure:
            content, status, reason = {"detail": str(failure)}, Status.REJECTED, failure.reason
        except BaseException:
            self.shop.end(key, "owed")
            raise
        provenance = self._provenance(self.shop.end(key, status), time.monotonic() - begun)
        return self.origins.put(Unit(key, content, status, reason, provenance, made_from=made_from))

    def _provenance(self, usage: Usage, seconds: float) -> dict[str, Any]:
        return {
            "cbt_ray": version("cbt-ray"),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "usage": usage.to_json(),
            "models": dict(self._reported),
            **({"llama_cpp": self._llama_cpp} if self._llama_cpp else {}),
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
    """What a job is done with."""

    setting: Setting
    gate: Gate
    note: Note

    def workplace(self) -> Workplace:
        """A place for one job in the workshop of this process, which is kept between jobs so that
        models stay open.
        """
        return Workplace(workshop_of(self.setting, self.gate), self.note)


def reason_of(error: CbtRayError) -> str:
    """One line for a unit that stays owed."""
    return f"{error.kind}: {error}" if isinstance(error, Infrastructure) else str(error)
