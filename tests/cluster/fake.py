"""A cluster in a dictionary: objects by kind and name, and a script of what happens to them while
somebody waits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from cbt_ray.cluster.api import Conflict
from cbt_ray.errors import Infrastructure

Document = dict[str, Any]


class FakeCluster:
    """Implements cbt_ray.cluster.api.Cluster. `script` is called before each look at the pods."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Document] = {}
        self.logs: dict[str, list[str]] = {}
        self.created: list[str] = []
        self.script: Callable[[FakeCluster], None] = lambda _: None
        self.lost = 0

    def get(self, kind: str, name: str) -> Document | None:
        if self.lost:
            self.lost -= 1
            raise Infrastructure("cluster: out of reach (MaxRetryError)", "connection")
        return copy.deepcopy(self.objects.get((kind, name)))

    def find(self, kind: str, labels: str = "", fields: str = "") -> list[Document]:
        if kind == "Pod":
            self.script(self)
        wanted = dict(pair.split("=") for pair in labels.split(",") if "=" in pair)
        found = [document for (of, _), document in self.objects.items() if of == kind]
        return [d for d in found if wanted.items() <= d["metadata"].get("labels", {}).items()]

    def create(self, document: Document) -> Document:
        name = document["metadata"]["name"]
        if (document["kind"], name) in self.objects:
            raise Conflict(f"{name} already exists")
        made = copy.deepcopy(document)
        made["metadata"]["uid"] = f"uid-{len(self.created)}"
        self.objects[document["kind"], name] = made
        self.created.append(f"{document['kind']}/{name}")
        return made

    def patch(self, kind: str, name: str, change: Document) -> None:
        for part, values in change.items():
            self.objects[kind, name].setdefault(part, {}).update(values)

    def delete(self, kind: str, name: str) -> None:
        self.objects.pop((kind, name), None)

    def log(self, pod: str, container: str, since: str | None) -> list[str]:
        return [
            line for line in self.logs.get(pod, []) if since is None or line.split(" ")[0] >= since
        ]

    def end(self, kind: str, code: int) -> None:
        """Let every object of a kind end as the real one would with this exit code."""
        for (of, _), document in self.objects.items():
            if of == kind == "Job":
                condition = {
                    "type": "Complete" if code == 0 else "Failed",
                    "status": "True",
                    "reason": "PodFailurePolicy",
                }
                document["status"] = {"conditions": [condition]}
            elif of == kind == "RayJob":
                state = ("Complete", "SUCCEEDED") if code == 0 else ("Failed", "FAILED")
                document["status"] = {
                    "jobDeploymentStatus": state[0],
                    "jobStatus": state[1],
                    "reason": "AppFailed",
                }


class FakeTime:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
