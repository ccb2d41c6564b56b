"""A queue: what Kueue says of a job, or of a server's pod, that it has not admitted yet."""

from __future__ import annotations

from cbt_ray.cluster.api import Cluster, Document
from cbt_ray.errors import Infrastructure, InputError

QUEUE = "kueue.x-k8s.io/queue-name"
GATE = "kueue.x-k8s.io/admission"
JOB = "kueue.x-k8s.io/job-uid"
_STEPS = ("QuotaReserved", "Admitted")
"""What must become true of a workload, in this order."""


def is_held(document: Document) -> bool:
    """Whether somebody holds a job, or a pod, back: a queue, or whoever suspended it by hand."""
    spec = document.get("spec") or {}
    gates = [gate["name"] for gate in spec.get("schedulingGates", [])]
    return bool(spec.get("suspend")) or GATE in gates


def waiting(cluster: Cluster, document: Document) -> str | None:
    """Why it is held back, with its place in the queue, in one line; None where it is not."""
    if not is_held(document):
        return None
    meta = document["metadata"]
    queue = (meta.get("labels") or {}).get(QUEUE)
    if queue is None:
        return "suspended by hand, and in no queue"
    try:
        found = cluster.find("Workload", f"{JOB}={meta['uid']}")
    except InputError:
        return f"queued in {queue} (this user may not read its workloads)"
    if not found:
        return f"queued in {queue}, whose Kueue has not taken it up"
    place = _place(cluster, queue, str(found[0]["metadata"]["name"]))
    return ": ".join([f"queued in {queue}{place}", *_why(found[0])])


def _place(cluster: Cluster, queue: str, workload: str) -> str:
    """How many stand before it; nothing where the cluster does not say."""
    try:
        pending = cluster.get("LocalQueue", f"{queue}/pendingworkloads") or {}
    except (InputError, Infrastructure):  # it is an API of its own, which not every Kueue serves
        return ""
    before = [
        int(one.get("positionInClusterQueue", 0))
        for one in pending.get("items", [])
        if one["metadata"]["name"] == workload
    ]
    return f", {before[0]} before it" if before else ""


def _why(workload: Document) -> list[str]:
    """What the first step says that is not made."""
    known = {one["type"]: one for one in (workload.get("status") or {}).get("conditions", [])}
    left = [known[step] for step in _STEPS if step in known and known[step]["status"] != "True"]
    return [" ".join(str(one.get("message", "")).split()) for one in left[:1]]
