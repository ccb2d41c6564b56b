"""Who waits in a queue is said with its place and reason: objects as Kueue 0.19 writes them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.batch.attempt import Attempts
from cbt_ray.cluster.follow import Clock, Follower
from cbt_ray.cluster.queue import waiting
from cbt_ray.cluster.run import _job
from cbt_ray.cluster.submission import LABEL
from cbt_ray.cluster.trouble import state_of, troubles
from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.store.folder import FolderStore
from tests.cluster.fake import FakeCluster, FakeTime
from tests.cluster.test_trouble import NOW

Document = dict[str, Any]
WHY = (
    "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in "
    "flavor gpus, 1 more needed"
)
LINE = f"queued in cbt-ray, 2 before it: {WHY}"


def job(kind: str = "Job", queue: str | None = "cbt-ray", **spec: Any) -> Document:
    labels = {LABEL: "abc"} | ({"kueue.x-k8s.io/queue-name": queue} if queue else {})
    meta = {"name": "demo-train-1", "uid": "u1", "labels": labels}
    return {"kind": kind, "metadata": meta, "spec": {"suspend": True} | spec}


def queued(cluster: FakeCluster, *conditions: tuple[str, str, str]) -> FakeCluster:
    told = [{"type": a, "status": b, "message": c} for a, b, c in conditions]
    meta = {"name": "job-demo-train-1-0a1b2", "labels": {"kueue.x-k8s.io/job-uid": "u1"}}
    workload = {"kind": "Workload", "metadata": meta, "status": {"conditions": told}}
    cluster.objects["Workload", "w"] = workload
    items = [
        {"metadata": {"name": name}, "positionInClusterQueue": n, "positionInLocalQueue": 0}
        for n, name in enumerate(["a", "b", meta["name"]])
    ]
    cluster.objects["LocalQueue", "cbt-ray/pendingworkloads"] = {"items": items}
    return cluster


PENDING = ("QuotaReserved", "False", WHY)


@pytest.mark.parametrize("kind", ["Job", "RayJob"])
def test_a_suspended_job_says_its_place_and_its_reason(kind: str) -> None:
    cluster = queued(FakeCluster(), PENDING)
    assert waiting(cluster, job(kind)) == LINE
    assert _job(cluster, job(kind)) == f"demo-train-1: {LINE}"
    assert waiting(cluster, job(kind, suspend=False)) is None
    assert waiting(cluster, job(kind, suspend=None)) is None


def test_a_pod_of_a_server_that_is_gated_is_queued_too() -> None:
    gates = [{"name": "kueue.x-k8s.io/admission"}]
    pod = job("Pod", suspend=None, schedulingGates=gates, containers=[])
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    pod["status"] = {"phase": "Pending", "conditions": [gated]}
    assert waiting(queued(FakeCluster(), PENDING), pod) == LINE
    assert state_of(pod) == "queued"
    assert troubles([pod], [], NOW) == [], "it waits for its turn, not for room"


def test_the_step_that_is_not_made_is_the_reason() -> None:
    checks = ("Admitted", "False", "The workload has not all checks ready")
    cluster = queued(FakeCluster(), ("QuotaReserved", "True", "reserved"), checks)
    assert waiting(cluster, job()) == f"queued in cbt-ray, 2 before it: {checks[2]}"


def test_what_is_not_known_is_left_out() -> None:
    assert waiting(FakeCluster(), job(queue=None)) == "suspended by hand, and in no queue"
    assert waiting(FakeCluster(), job()) == ("queued in cbt-ray, whose Kueue has not taken it up")
    cluster = queued(FakeCluster())
    del cluster.objects["LocalQueue", "cbt-ray/pendingworkloads"]
    assert waiting(cluster, job()) == "queued in cbt-ray"


class Forbidden(FakeCluster):
    def __init__(self, error: Exception, *kinds: str) -> None:
        super().__init__()
        self.error, self.kinds = error, kinds

    def get(self, kind: str, name: str) -> Document | None:
        if kind in self.kinds:
            raise self.error
        return super().get(kind, name)

    def find(self, kind: str, labels: str = "", fields: str = "") -> list[Document]:
        if kind in self.kinds:
            raise self.error
        return super().find(kind, labels, fields)


def test_who_may_not_look_into_the_queue_is_still_told_of_it() -> None:
    denied = Forbidden(InputError("cluster: forbidden"), "Workload")
    assert waiting(denied, job()) == "queued in cbt-ray (this user may not read its workloads)"
    for error in (InputError("forbidden"), Infrastructure("503", "server")):
        assert waiting(queued(Forbidden(error, "LocalQueue"), PENDING), job()) == (
            f"queued in cbt-ray: {WHY}"
        )


def test_a_day_in_the_queue_costs_no_patience_and_is_told_once(tmp_path: Path) -> None:
    cluster, time, said = queued(FakeCluster(), PENDING), FakeTime(), list[str]()
    cluster.objects["Job", "demo-train-1"] = job()
    looks = iter(range(100_000))

    def script(fake: FakeCluster) -> None:
        document = fake.objects["Job", "demo-train-1"]
        look = next(looks)
        if look == 43_200:  # a day of looks
            document["spec"]["suspend"] = False
        if look == 43_210:
            document["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    cluster.script = script
    clock = Clock(time.now, time.sleep, lambda: NOW)
    attempts = Attempts(FolderStore(tmp_path), "demo", "abc")
    follow = functools.partial(Follower, cluster, attempts, "Job", "demo-train-1", "abc")
    assert follow(said.append, 600.0, clock).follow().code == 0
    assert said == [f"demo-train-1: {LINE}", "demo-train-1: admitted"]
