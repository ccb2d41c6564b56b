"""What keeps pods from running, read off their states and events: each trouble in one line, and how
long it may last. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cbt_ray.cluster.api import Document
from cbt_ray.cluster.pod import containers_of
from cbt_ray.cluster.queue import is_held
from cbt_ray.count import many
from cbt_ray.errors import InputError, Owed

OWED, USER = Owed.exit_code, InputError.exit_code
"""Exit codes: running again may help; the user must act first."""
PULL_S, CONFIG_S, REFUSED_S, CRASH_S = 60.0, 30.0, 30.0, 180.0
"""Seconds that an image may be missing, a Secret, the quota's leave; that a container may end again
and again."""
FRESH_S = 60.0
"""Seconds that an event tells of the present."""
_MISSING = re.compile(r"(\d+) Insufficient ([\w/-]+(?:[.][\w/-]+)*)")
_NODES = re.compile(r"^\d+/(\d+) nodes")
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Trouble:
    """Why something does not run.

    `lasting` is how long that may go on, in seconds; None: for as long as the user waits.
    """

    where: str
    text: str
    code: int
    lasting: float | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def troubles(pods: Iterable[Document], events: Iterable[Document], now: datetime) -> list[Trouble]:
    """All that is wrong now.

    A worker that finds no room, or is refused, is none as long as another one runs.
    """
    known = list(pods)
    working = any(
        _role(pod) == "worker" and pod["status"].get("phase") == "Running" for pod in known
    )
    found = [
        trouble
        for pod in known
        for trouble in _of_pod(pod)
        if not (working and _role(pod) == "worker" and trouble.lasting is None)
    ]
    return (
        found
        if working
        else [*found, *_of_events(event for event in events if _is_fresh(event, now))]
    )


def killed(pods: Iterable[Document]) -> list[Trouble]:
    """Containers that ran out of memory or were killed.

    They are tried again, so this is for telling only.
    """
    found = []
    for pod in pods:
        for status in _containers(pod):
            for state in (status.get("state", {}), status.get("lastState", {})):
                ended = state.get("terminated") or {}
                if ended.get("reason") == "OOMKilled":
                    limit = _limit(pod, status["name"])
                    found.append(
                        Trouble(
                            name_of(pod),
                            f"{status['name']} ran out of memory (limit {limit})",
                            OWED,
                        )
                    )
                elif ended.get("exitCode") == 137:
                    found.append(Trouble(name_of(pod), f"{status['name']} was killed (137)", OWED))
    return found


def state_of(pod: Document) -> str:
    """A pod's state in a word or two, as `kubectl get pods` has it."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for status in _containers(pod):
        waiting = status.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _IMAGE:
            return "without its image"  # Kubernetes goes to and fro between two words for it
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return str(waiting["reason"])
    if is_held(pod):
        return "queued"
    state = str(pod["status"].get("reason") or pod["status"].get("phase", "Pending"))
    return "loading" if state == "Running" and _role(pod) == "llm" and not _ready(pod) else state


def _ready(pod: Document) -> bool:
    return any(
        one["type"] == "Ready" and one["status"] == "True"
        for one in pod["status"].get("conditions", [])
    )


def name_of(document: Document) -> str:
    """An object's name."""
    return str(document["metadata"]["name"])


def _role(pod: Document) -> str:
    return str(pod["metadata"].get("labels", {}).get("cbt-ray/role", ""))


def _containers(pod: Document) -> Iterator[Document]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from pod["status"].get(group, [])


def _limit(pod: Document, name: str) -> str:
    limits = _declared(pod, name).get("resources", {}).get("limits", {})
    return str(limits.get("memory", "of the node"))


def _declared(pod: Document, name: str) -> Document:
    """A container as the pod's spec has it."""
    return next(
        (container for container in containers_of(pod["spec"]) if container["name"] == name), {}
    )


def _of_pod(pod: Document) -> Iterator[Trouble]:
    name = name_of(pod)
    for condition in pod["status"].get("conditions", []):
        if (
            condition["type"] == "PodScheduled"
            and condition["status"] == "False"
            and condition.get("reason") == "Unschedulable"
        ):
            yield Trouble(
                name, f"cannot be scheduled: {_missing(condition.get('message', ''))}", OWED
            )
    for status in _containers(pod):
        waiting = status.get("state", {}).get("waiting") or {}
        reason, message = (
            str(waiting.get("reason", "")),
            " ".join(str(waiting.get("message", "")).split()),
        )
        if reason in _IMAGE:
            image = status.get("image") or _declared(pod, status["name"]).get(
                "image", status["name"]
            )
            yield Trouble(name, f"image not found: {image}", USER, PULL_S)
        elif reason == "CrashLoopBackOff":
            yield _of_crash(name, status)
        elif reason in _CONFIG:
            yield Trouble(
                name, f"{status['name']} cannot be created: {message or reason}", USER, CONFIG_S
            )


def _of_crash(name: str, status: Document) -> Trouble:
    """A container that ends again and again, with the last line that it said."""
    ended = status.get("lastState", {}).get("terminated") or {}
    code, said = ended.get("exitCode", "no exit code"), str(ended.get("message", "")).split("\n")
    why = next((f": {line.strip()}" for line in reversed(said) if line.strip()), "")
    text = f"{status['name']} keeps ending with {code}{why}"
    return (
        Trouble(name, text, USER, CONFIG_S) if code == USER else Trouble(name, text, OWED, CRASH_S)
    )


def _missing(message: str) -> str:
    """The scheduler's message by its resources: `nvidia.com/gpu is missing on 3 of 3 nodes`."""
    nodes = _NODES.match(message)
    lacking = [f"{what} is missing on {count}" for count, what in _MISSING.findall(message)]
    of = f" of {many(int(nodes[1]), 'node')}" if nodes else " nodes"
    rest = _MISSING.sub("", message.split(" preemption:")[0].split(": ", 1)[-1])
    others = [
        part.strip(" .")
        for part in re.split(r",(?![^{]*})", rest)
        if part.strip(" .") and "no new claims" not in part
    ]
    return "; ".join([*(f"{one}{of}" for one in lacking), *others]) or message


def _is_fresh(event: Document, now: datetime) -> bool:
    seen = (
        (event.get("series") or {}).get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
    )
    return bool(seen) and (now - datetime.fromisoformat(str(seen))).total_seconds() < FRESH_S


def _of_events(events: Iterable[Document]) -> Iterator[Trouble]:
    """Pods that could not even be made: over the quota, refused by pod security."""
    for event in events:
        if event.get("type") == "Warning" and event.get("reason") in (
            "FailedCreate",
            "FailedToCreateHeadPod",
            "FailedToCreateWorkerPod",
        ):
            about = str(event.get("involvedObject", {}).get("name", ""))
            yield Trouble(
                about,
                f"its pods are refused: {_refusal(str(event.get('message', '')))}",
                USER,
                REFUSED_S,
            )


def _refusal(message: str) -> str:
    """The message without the pod's name, which is another one at each try."""
    return re.sub(r'pods "[^"]*" is', "it is", " ".join(message.split()))
