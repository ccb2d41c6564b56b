"""Servers: vLLM for the models that a submission asks.

They belong to the Ray cluster of an attempt, so that Kubernetes removes them with it, whatever has
become of the machine that submitted. A further attempt has a Ray cluster and servers of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cbt_ray.cluster.api import Cluster, Conflict, Document
from cbt_ray.cluster.overlay import SERVER
from cbt_ray.cluster.pod import TEMPLATE, Manifest
from cbt_ray.cluster.submission import LABEL, MODEL, Submission
from cbt_ray.study.serving import Server, endpoint_of


def servers(submission: Submission, name: str, templates: list[Manifest]) -> list[Manifest]:
    """The objects of all servers of a submission, whose own object has this name."""
    return [
        _filled(copy.deepcopy(template), submission, name, server)
        for server in submission.servers
        for template in templates
    ]


def _filled(manifest: Manifest, submission: Submission, name: str, server: Server) -> Manifest:
    meta, own = manifest["metadata"], submission.server_name(name, server)
    labels = {key: value for key, value in meta["labels"].items() if key != TEMPLATE}
    told = submission.labels | {SERVER: own, MODEL: server.model}
    manifest["metadata"] = meta | {"name": own, "labels": labels | told}
    _select(manifest["kind"], manifest["spec"], {SERVER: own, LABEL: submission.id})
    if manifest["kind"] == "Deployment":
        pod = manifest["spec"]["template"]
        pod["metadata"]["labels"] |= told
        _fill_pod(pod["spec"], submission, name, server)
    return manifest


def _select(kind: str, spec: dict[str, Any], mine: dict[str, str]) -> None:
    """Have an object be about the pods of one server, and its callers be of one submission."""
    if kind == "Service":
        spec["selector"] |= mine
    elif kind == "Deployment":
        spec["selector"]["matchLabels"] |= mine
    else:
        spec["podSelector"]["matchLabels"] |= mine
        for rule in spec["ingress"]:
            for caller in rule["from"]:
                caller["podSelector"]["matchLabels"][LABEL] = mine[LABEL]


def _fill_pod(spec: dict[str, Any], submission: Submission, name: str, server: Server) -> None:
    key = endpoint_of(submission.study, server).api_key_env
    replace(submission, keys=(key,) if key else ()).fill_pod(spec, name)
    _ask(spec["containers"][0], server)


def _ask(container: dict[str, Any], server: Server) -> None:
    """Name the server, ahead of what an overlay hands on to vLLM after `--`."""
    args = container["args"]
    end = args.index("--") if "--" in args else len(args)
    own = ["--model", server.model, "--endpoint", server.endpoint]
    container["args"] = [*args[:end], *own, *args[end:]]


@dataclass
class Keeper:
    """Sees to it that the Ray cluster of a job has its servers."""

    cluster: Cluster
    manifests: list[Manifest]
    say: Callable[[str], object]
    _served: str = ""
    """The Ray cluster that has all of them."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the servers."""
        return tuple(sorted({manifest["metadata"]["name"] for manifest in self.manifests}))

    def keep(self, job: Document) -> bool:
        """Create what the job's Ray cluster lacks; answers whether all is there."""
        if not self.manifests:
            return True
        owner = self._owner(job)
        if owner is None:
            return False
        if self._served != owner["uid"] and all(self._is_there(m, owner) for m in self.manifests):
            self._served = owner["uid"]
        return self._served == owner["uid"]

    def _owner(self, job: Document) -> dict[str, str] | None:
        """The Ray cluster of the present attempt, as what belongs to it names it."""
        name = (job.get("status") or {}).get("rayClusterName")
        found = self.cluster.get("RayCluster", name) if name else None
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        known = {key: str(found["metadata"][key]) for key in ("name", "uid")}
        return {"apiVersion": "ray.io/v1", "kind": "RayCluster", **known}

    def _is_there(self, manifest: Manifest, owner: dict[str, str]) -> bool:
        """Create an object where none of its name is; one of an earlier attempt is deleted first,
        and the next look creates it anew.
        """
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        known = self.cluster.get(kind, name)
        if known is not None:
            owners = known["metadata"].get("ownerReferences", [])
            if owner["uid"] in [one["uid"] for one in owners]:
                return True
            self.cluster.delete(kind, name)
            return False
        metadata = manifest["metadata"] | {"ownerReferences": [owner]}
        try:
            self.cluster.create(manifest | {"metadata": metadata})
        except Conflict:  # somebody else follows the same job
            return False
        if kind == "Deployment":
            self.say(f"{name} is created: the server of {manifest['metadata']['labels'][MODEL]}")
        return True
