"""Tuned models in servers of vLLM that `submit simulate` brings up, and which go with their job.

The image is another gigabyte, so these are asked for: `make test-cluster VLLM=1`. They begin where
the smallest study has ended, or make its courses and its model first.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.store.store import Store
from cbt_ray.study import load_study
from cbt_ray.unit import Stage
from cbt_ray.work.keys import Keys
from cbt_ray.work.workshop import prompts_of
from tests.cluster.live import cluster
from tests.cluster.live.test_study import STUDY, Watcher, document
from tests.k8s.policy import complaints
from tests.needs import needs
from tests.stages import scripted

KINDS = "deployments,services,networkpolicies"
OURS = f"cbt-ray/study={STUDY},cbt-ray/server"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both arms of the smallest study, on one server; none of its sessions is there."""
    needs("vllm", "vllm" in os.environ.get("REQUIRE", "").split(","))
    folder = tmp_path_factory.mktemp("served")
    whole = document("runs")
    whole["endpoints"]["served"] = {"kind": "vllm", "weights": "finetuned", "dtype": "float32"}
    whole["endpoints"]["served"] |= {"context": 2048}
    whole["patients"]["simulated"] = whole["patients"]["simulated"][:1]
    sampling = {"temperature": 0.3, "max_tokens": 32}
    whole["roles"] = whole["roles"] | {"therapist": {"endpoint": "served", "sampling": sampling}}
    whole["sessions"] = {"count": 1, "max_messages": 4}
    file = scripted.write_study(folder, whole)
    cluster.cbt_ray("submit", "generate", file)
    cluster.cbt_ray("submit", "train", file, "--model", "first")
    known = cluster.store()
    for path in _sessions(file):
        known.delete(path)
    return file


def _sessions(file: Path) -> list[str]:
    read = load_study(file)
    return [str(key) for key in Keys(read, prompts_of(read)).all()[Stage.SESSIONS]]


def _there() -> list[dict[str, Any]]:
    return cluster.objects(KINDS, OURS)


def _gone() -> bool:
    return not _there() and not cluster.objects("pods", OURS)


def test_a_cancelled_job_takes_its_servers_along(study: Path) -> None:
    output = cluster.cbt_ray("submit", "simulate", study, "--no-wait")
    assert "the server of first" in output
    found = _there()
    assert sorted(one["kind"] for one in found) == ["Deployment", "NetworkPolicy", "Service"]
    owners = [owner["kind"] for one in found for owner in one["metadata"]["ownerReferences"]]
    assert owners == ["RayCluster"] * 3
    cluster.cbt_ray("cancel", "simulate", study)
    cluster.wait_until(_gone, "the servers are gone", 120, every=1)


def test_sessions_are_held_with_a_server_that_comes_and_goes(study: Path) -> None:
    watcher = Watcher()
    thread = threading.Thread(target=watcher.watch, daemon=True)
    thread.start()
    output = cluster.cbt_ray("submit", "simulate", study)
    watcher.ended = True
    thread.join()
    print(output)
    assert "server of first loading" in output
    assert "server of first Running" in output
    known: Store = cluster.store()
    held = [json.loads(known.read(path) or b"") for path in _sessions(study)]
    assert [one["status"] for one in held] == ["done"] * 2
    serving = [p for p in watcher.seen.values() if "cbt-ray/server" in p["metadata"]["labels"]]
    assert serving
    assert [complaints(pod["spec"]) for pod in serving] == [[]] * len(serving)
    cluster.wait_until(_gone, "the servers are gone", 180, every=2)
