"""Faults in the cluster, each when the stage has a unit done and one in flight: the study ends
complete, no unit is lost or made
twice, and what it cost is counted by the served model itself.

make test-cluster FAULTS=1 runs them; the table that they print stands in docs/cluster.md.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.store.store import Store
from cbt_ray.unit import Stage
from tests.cluster.live import cluster
from tests.cluster.live.cluster import CLUSTER, kubectl, objects, wait_until
from tests.stages import scripted

LATENCY = 1.2
TABLE = Path("runs") / "faults.md"


def document(study: str, **changes: Any) -> dict[str, Any]:
    """Three courses and four chains of two sessions, of which a served model speaks every word."""
    whole = scripted.study_document("runs", **changes) | {"study": study}
    whole["endpoints"] = {
        "served": {
            "kind": "litellm",
            "model": "openai/scripted",
            "api_base": cluster.LLM,
            "licence": "Apache-2.0",  # of nobody: a script answers
            "price": [0, 0],
            "timeout_s": 20,
        }
    }
    whole["roles"] = {role: {"endpoint": "served"} for role in whole["roles"]}
    whole["raters"]["judge"]["endpoint"] = "served"
    del whole["engine"]
    return whole


@pytest.fixture(scope="module", autouse=True)
def served(asked_for: None) -> None:
    """The served model."""
    cluster.serve_llm(LATENCY)


class Counted:
    """Calls that the served model answered between two looks."""

    def __init__(self) -> None:
        self.before = cluster.calls()["calls"]

    def so_far(self) -> int:
        return cluster.calls()["calls"] - self.before


@pytest.fixture(scope="module")
def undisturbed(served: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed run leaves and costs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    cluster.forget("undisturbed")
    counted, begun = Counted(), time.monotonic()
    cluster.cbt_ray("submit", "study", scripted.write_study(folder, document("undisturbed")))
    known = cluster.store()
    row("undisturbed", counted.so_far(), 0, time.monotonic() - begun)
    return {"units": contents(known, "undisturbed"), "calls": counted.so_far()}


def contents(known: Store, study: str) -> dict[str, Any]:
    """Contents of what is reproducible, by key without the study's name."""
    found = cluster.units(
        known, study, Stage.PROFILES, Stage.COURSES, Stage.SESSIONS, Stage.RATINGS
    )
    return {
        path.split("/", 1)[1].rsplit("/", 1)[0]: json.loads(data)["content"]
        for path, data in found.items()
    }


def row(fault: str, calls: int, more: int, seconds: float) -> None:
    """One line of the table."""
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("a") as table:
        table.write(f"| {fault} | {calls} | {more:+d} | {seconds:.0f} |\n")


def under_way(known: Store, study: str, stage: Stage, total: int) -> bool:
    """Whether a stage has a unit done and not all."""
    return 0 < len(list(known.list(f"{study}/{stage}/"))) < total


def disturb(
    name: str,
    stage: Stage,
    total: int,
    fault: Callable[[str], None],
    undisturbed: dict[str, Any],
    folder: Path,
) -> None:
    """Run a study, do something to it in a stage, and hold it against the undisturbed one."""
    cluster.forget(name)
    study = scripted.write_study(folder, document(name))
    known, counted, begun = cluster.store(), Counted(), time.monotonic()
    process = cluster.begin("submit", "study", study, log=folder / "log")
    try:
        wait_until(lambda: under_way(known, name, stage, total), f"{stage} under way", 300)
        assert under_way(known, name, stage, total)
        fault(name)
        code = process.wait(900)
        if code == 1:  # something stayed owed: a user runs the same command again
            print(f"{name}: exit 1, submitted again")
            cluster.cbt_ray("submit", "study", study, timeout=900)
        else:
            assert code == 0, (folder / "log").read_text()
    finally:
        process.kill()
        print((folder / "log").read_text())
    calls = counted.so_far()
    left = contents(known, name)
    # Seeds hold the study's name, so two studies' words differ, but not what there is of them.
    assert set(left) == set(undisturbed["units"])
    paths = [path for path in known.list(f"{name}/") if path.split("/")[1] in set(Stage)]
    assert len({path.rsplit("/", 1)[0] for path in paths}) == len(paths), "no unit twice"
    assert not list(known.list(f"{name}/aside/"))
    row(
        f"{name} ({stage})" + (", submitted again" if code == 1 else ""),
        calls,
        calls - undisturbed["calls"],
        time.monotonic() - begun,
    )


def delete_pod(study: str, job: str, role: str) -> None:
    """Delete a pod at once, as a node that dies would."""
    pods = objects("pods", f"cbt-ray/study={study},cbt-ray/stage={job},cbt-ray/role={role}")
    running = [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]
    kubectl("delete", "pod", running[0], "--grace-period=0", "--force", "--wait=false")


def delete_store(_study: str) -> None:
    """Delete minio's pod; its volume stays, and the StatefulSet brings another."""
    kubectl("delete", "pod", "store-0", "--grace-period=0", "--force")


def stop_node(study: str) -> None:
    """Stop the node on which the store does not lie, for two minutes."""
    subprocess.run(["docker", "stop", f"{CLUSTER}-worker2"], check=True, capture_output=True)
    time.sleep(120)
    subprocess.run(["docker", "start", f"{CLUSTER}-worker2"], check=True, capture_output=True)


def pause_control_plane(_study: str) -> None:
    """Freeze the API server, the scheduler and the controllers for a minute."""
    subprocess.run(["docker", "pause", f"{CLUSTER}-control-plane"], check=True, capture_output=True)
    time.sleep(60)
    subprocess.run(
        ["docker", "unpause", f"{CLUSTER}-control-plane"], check=True, capture_output=True
    )


def drain_node(study: str) -> None:
    """Empty the node of a worker of Ray, as for its maintenance; the store would not come back
    without its volume, and is let be.
    """
    workers = objects("pods", f"cbt-ray/study={study},cbt-ray/stage=simulate,cbt-ray/role=worker")
    (node,) = {pod["spec"]["nodeName"] for pod in workers if pod["status"]["phase"] == "Running"}
    mine = f"--pod-selector=cbt-ray/study={study}"
    kubectl("drain", node, mine, "--delete-emptydir-data", "--timeout=120s")
    time.sleep(60)
    kubectl("uncordon", node)


def reclaim(study: str) -> None:
    """Take a training's pod as a spot node goes: SIGTERM, and 30 s later SIGKILL."""
    (pod,) = objects("pods", f"cbt-ray/study={study},cbt-ray/role=train")
    name = pod["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": cluster.NAMESPACE},
        "deleteOptions": {"gracePeriodSeconds": 30},
    }
    path = f"/api/v1/namespaces/{cluster.NAMESPACE}/pods/{name}/eviction"
    kubectl("create", "--raw", path, "-f", "-", data=json.dumps(eviction))


FAULTS: dict[str, tuple[Stage, int, Callable[[str], None]]] = {
    "worker-deleted": (Stage.COURSES, 6, lambda study: delete_pod(study, "generate", "worker")),
    "head-deleted": (Stage.SESSIONS, 8, lambda study: delete_pod(study, "simulate", "head")),
    "minio-deleted": (Stage.SESSIONS, 8, delete_store),
    "control-plane-paused": (Stage.COURSES, 6, pause_control_plane),
    "node-stopped": (Stage.SESSIONS, 8, stop_node),
    "node-drained": (Stage.SESSIONS, 8, drain_node),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_study_ends_complete_after(
    name: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    stage, total, fault = FAULTS[name]
    disturb(name, stage, total, fault, undisturbed, tmp_path)


LOSSES: dict[str, Callable[[str], None]] = {
    "train-deleted": lambda study: delete_pod(study, "train", "train"),
    "train-reclaimed": reclaim,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_training_that_loses_its_pod_goes_on_from_its_checkpoint(
    name: str, tmp_path: Path
) -> None:
    changes, begun = scripted.ONE_TUNED, time.monotonic()
    whole = document(name, **changes)
    recipe = whole["models"]["first"]["recipe"] | {"max_steps": 12}
    whole["models"] = {"first": {"recipe": recipe}}
    study = scripted.write_study(tmp_path, whole)
    cluster.forget(name)
    cluster.cbt_ray("submit", "generate", study)
    known = cluster.store()
    process = cluster.begin("submit", "train", study, "--model", "first", log=tmp_path / "log")
    wait_until(lambda: any(True for _ in known.list(f"{name}/checkpoints/")), "a checkpoint", 300)
    LOSSES[name](name)
    assert process.wait(600) == 0, (tmp_path / "log").read_text()
    (unit,) = [
        json.loads(data)
        for path, data in cluster.units(known, name, Stage.ADAPTER).items()
        if "first-tuned" in path
    ]
    resumed = unit["provenance"]["measured"]["resumed_from"]
    assert resumed >= 1
    row(f"{name}: went on from step {resumed} of 12", 0, 0, time.monotonic() - begun)
