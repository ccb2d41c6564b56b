"""Jobs that are held back, and Ray clusters that scale themselves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.live import cluster
from tests.cluster.live.cluster import kubectl, objects, wait_until
from tests.cluster.live.test_faults import document
from tests.cluster.live.test_study import write
from tests.stages import scripted

pytestmark = pytest.mark.usefixtures("asked_for")
HELD_S = 20
WORKERS = "cbt-ray/study=scaled,cbt-ray/stage=simulate,cbt-ray/role=worker"


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "rayjob", name, "-o", "json"))["status"]
    return found


def test_a_suspended_job_is_told_and_its_deadlines_begin_when_it_is_let_in(tmp_path: Path) -> None:
    """As Kueue holds a RayJob back; its own controller is not here."""
    cluster.forget("held")
    study = write(tmp_path / "held", study="held")
    printed = cluster.cbt_ray("submit", "generate", study, "--dry-run")
    config, job = yaml.safe_load_all(printed)
    job["spec"]["suspend"] = True
    name = job["metadata"]["name"]
    kubectl("create", "-f", "-", data=yaml.safe_dump_all([config, job]))
    process = cluster.begin("submit", "generate", study, log=tmp_path / "log")
    wait_until(lambda: "suspended by hand" in (tmp_path / "log").read_text(), "it is told", 60)
    wait_until(
        lambda: status(name).get("jobDeploymentStatus") == "Suspended", "KubeRay holds it", 60
    )
    time.sleep(HELD_S)
    assert objects("pods", "cbt-ray/study=held") == []
    let_in = time.time()
    kubectl("patch", "rayjob", name, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert process.wait(600) == 0, (tmp_path / "log").read_text()
    assert f"{name}: admitted" in (tmp_path / "log").read_text()
    began = status(name)["startTime"]
    assert time.mktime(time.strptime(began, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone >= let_in - 5


def test_workers_come_as_they_are_wanted_and_go_with_their_cluster(tmp_path: Path) -> None:
    """Four chains, which want more than the one worker with which such a cluster begins."""
    cluster.serve_llm(1.2)
    whole = document("scaled") | {"engine": {"chains_per_worker": 1}}
    study = scripted.write_study(tmp_path, whole)
    cluster.forget("scaled")
    cluster.cbt_ray("submit", "generate", study)
    process = cluster.begin("submit", "simulate", study, "--autoscaled", log=tmp_path / "log")
    seen: set[str] = set()
    begun = time.monotonic()
    at_once: list[tuple[float, int]] = []
    while process.poll() is None:
        workers = objects("pods", WORKERS)
        running = {w["metadata"]["name"] for w in workers if w["status"]["phase"] == "Running"}
        if not at_once or at_once[-1][1] != len(running):
            at_once.append((round(time.monotonic() - begun), len(running)))
        seen |= running
        time.sleep(1)
    print((tmp_path / "log").read_text(), "workers at once:", at_once)
    assert process.returncode == 0
    assert len(seen) >= 2
    assert max(count for _, count in at_once) >= 2
    wait_until(lambda: not objects("pods", WORKERS), "they go", 180)
