"""Following a submission: its pods' progress, the job's log, what is wrong, and the job's own exit
code at the end.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cbt_ray.batch.attempt import Attempts
from cbt_ray.cluster.api import Cluster, Document
from cbt_ray.cluster.overlay import SERVER
from cbt_ray.cluster.queue import waiting
from cbt_ray.cluster.submission import LABEL, MODEL
from cbt_ray.cluster.trouble import Trouble, killed, name_of, state_of, troubles
from cbt_ray.errors import Infrastructure

TICK_S = 2.0
SETTLING_S = 6.0
"""Seconds that something must be wrong before it is told: pods that begin pass through many states.
"""
_BANNER = re.compile(r"\t(INFO|SUCC) \w+\.py:\d+ -- |^Running entrypoint for job ")
"""What `ray job submit` says of itself."""
TALKING = ("job", "ray-job-submitter")
"""Containers whose log is the job's."""
SERVING = "vllm"
"""Containers whose log is shown to those who ask for it."""


@dataclass(frozen=True)
class Ending:
    """How a submission ended: the exit code, and why in one line."""

    code: int
    message: str = ""


@dataclass
class Clock:
    """Time and sleep, replaced by tests."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)


def ending_of(document: Document) -> Ending | None:
    """What an object says of its end; None while it runs.

    The job's own exit code is not in it where it failed.
    """
    status = document.get("status") or {}
    return _of_job(status) if document["kind"] == "Job" else _of_rayjob(status)


def _of_job(status: Document) -> Ending | None:
    for condition in status.get("conditions", []):
        if condition["status"] == "True" and condition["type"] == "Complete":
            return Ending(0)
        if condition["status"] == "True" and condition["type"] == "Failed":
            return Ending(1, f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}")
    return None


def _of_rayjob(status: Document) -> Ending | None:
    deployment, why = (
        status.get("jobDeploymentStatus"),
        f"{status.get('reason', 'Failed')}: {status.get('message', '')}",
    )
    if deployment == "Complete" and status.get("jobStatus") != "FAILED":
        return Ending(0)
    if deployment in ("Complete", "Failed"):
        return Ending(1, " ".join(why.split()))
    return (
        Ending(2, f"KubeRay refuses it: {' '.join(why.split())}")
        if deployment == "ValidationFailed"
        else None
    )


@dataclass
class Follower:
    """Follows one object until it ends."""

    cluster: Cluster
    attempts: Attempts
    kind: str
    name: str
    id: str
    say: Callable[[str], object]
    patience: float
    clock: Clock = field(default_factory=Clock)
    tend: Callable[[Document], object] = lambda _: None
    """What is done for a job that has not ended, at each look."""
    others: tuple[str, ...] = ()
    """Names of what else belongs to it."""
    _since: dict[tuple[str, str], str] = field(default_factory=dict)
    _first: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _pods: str = ""
    _queued: dict[str, str] = field(default_factory=dict)

    def follow(self) -> Ending:
        """Wait for the end.

        What is out of reach is waited for as long as the user's patience lasts.
        """
        lost: float | None = None
        while True:
            try:
                ending = self._look()
                lost = None
            except Infrastructure as error:
                lost = lost if lost is not None else self.clock.now()
                waited = self.clock.now() - lost
                self._tell_once("reach", f"{error}; waiting for it")
                ending = (
                    Ending(1, f"{error} for {waited:.0f} s") if waited > self.patience else None
                )
            if ending is not None:
                return ending
            self.clock.sleep(TICK_S)

    def _look(self) -> Ending | None:
        document = self.cluster.get(self.kind, self.name)
        if (
            document is None
        ):  # it ended while nobody looked, and the cluster has cleared it away; or it was cancelled
            own = self.attempts.verdict() or self.attempts.last()
            return (
                Ending(own.code, own.message)
                if own
                else Ending(1, f"{self.name} is gone: somebody deleted it")
            )
        pods = self.cluster.find("Pod", f"{LABEL}={self.id}")
        self._tell_pods(pods)
        for held in (document, *pods):
            self._tell_queue(held)
        for pod in pods:
            self._tell_log(pod)
        for one in killed(pods):
            self._tell_once(str(one), str(one))
        ending = ending_of(document)
        if ending is not None:
            return self._own_code(ending, pods)
        verdict = self.attempts.verdict()
        if verdict is not None:
            self._let_be()
            return Ending(verdict.code, verdict.message)
        self.tend(document)
        return self._give_up(troubles(pods, self._events(), self.clock.wall()))

    def _let_be(self) -> None:
        """Keep KubeRay from starting further clusters that would only be told the same."""
        if self.kind == "RayJob":
            self.cluster.patch(self.kind, self.name, {"spec": {"backoffLimit": 0}})

    def _own_code(self, ending: Ending, pods: list[Document]) -> Ending:
        """The exit code of the job's own last attempt, where the object only says that it
        failed.
        """
        if ending.code != 1:
            return ending
        own, reasons = self.attempts.verdict(), [str(one) for one in killed(pods)]
        if own is not None:
            return Ending(own.code, own.message)
        last = self.attempts.last()  # of several attempts, the last that lived to say so
        said = [last.message] if last is not None and last.code and not reasons else []
        return Ending(1, "; ".join([*reasons[-1:], *said] or [ending.message]))

    def _give_up(self, found: list[Trouble]) -> Ending | None:
        """Tell of what is wrong; the end where it has lasted too long."""
        now = self.clock.now()
        present = {f"{one.where} {one.text}" for one in found}
        self._first = {key: since for key, since in self._first.items() if key in present}
        for one in found:
            waited = now - self._first.setdefault(f"{one.where} {one.text}", now)
            if waited >= SETTLING_S:
                self._tell_once(str(one), str(one))
            if waited > (self.patience if one.lasting is None else one.lasting):
                return Ending(
                    one.code,
                    f"{one} (waited {waited:.0f} s; it stays in the cluster until it is cancelled)",
                )
        return None

    def _events(self) -> list[Document]:
        events = self.cluster.find("Event", fields="type=Warning")
        return [
            event
            for event in events
            if str(event["involvedObject"].get("name", "")).startswith((self.name, *self.others))
        ]

    def _tell_pods(self, pods: list[Document]) -> None:
        states = Counter(f"{_short(pod)} {state_of(pod)}" for pod in pods)
        line = ", ".join(
            f"{count} {what}" if count > 1 else what for what, count in sorted(states.items())
        )
        if line and line != self._pods:
            self._pods = line
            self.say(f"pods: {line}")

    def _tell_queue(self, document: Document) -> None:
        """Tell why a job or a pod is held back whenever that changes, and when it is let in."""
        name, line = name_of(document), waiting(self.cluster, document)
        known = self._queued.get(name)
        if (line or known) and line != known:
            self._queued[name] = line or ""
            self.say(f"{name}: {line or 'admitted'}")

    def _tell_log(self, pod: Document) -> None:
        for container in talking(pod):
            key = (name_of(pod), container)
            for line in self.cluster.log(*key, self._since.get(key)):
                stamp, _, text = line.partition(" ")
                if stamp > self._since.get(key, ""):
                    self._since[key] = stamp
                    if not _BANNER.search(text):
                        self.say(f"  {text}")

    def _tell_once(self, key: str, line: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self.say(line)


def talking(pod: Document, *more: str) -> list[str]:
    """The containers of a pod whose log is the job's, or that are named."""
    names = [str(container["name"]) for container in pod["spec"]["containers"]]
    return [name for name in names if name in (*TALKING, *more)]


def _short(pod: Document) -> str:
    """A pod as the summary names it: by its role, a server by its model."""
    labels = pod["metadata"].get("labels", {})
    if SERVER in labels:
        return f"server of {labels.get(MODEL)}"
    return str(labels.get("cbt-ray/role", name_of(pod)))
