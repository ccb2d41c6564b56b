"""Scaling: 40 chains with a model of fixed latency on 1, 2 and 4 Ray workers.

How far from ideal, and what a call costs in CPU.

make test-cluster SCALING=1 runs it; docs/scale.md holds what it printed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.unit import Stage
from tests.cluster.live import cluster
from tests.cluster.live.cluster import kubectl, objects
from tests.cluster.live.test_faults import document
from tests.needs import needs
from tests.stages import scripted

LATENCY = 1.0
CHAINS, SLOTS = 40, 10
"""Chains in all, and chains that one worker has under way at once."""
USAGE = (
    "awk '/^usage_usec/ { print $2 / 1e6 }' /sys/fs/cgroup/cpu.stat 2>/dev/null || "
    "awk '{ print $1 / 1e9 }' /sys/fs/cgroup/cpuacct/cpuacct.usage"
)
"""CPU seconds of a container, with either version of cgroups."""
TABLE = Path("runs") / "scaling.md"


def study(folder: Path, workers: int) -> Path:
    """Twenty patients and two arms of two sessions.

    Each call takes LATENCY and nothing else is replaced.
    """
    whole = document(f"scale-{workers}")
    profile = "A patient who sleeps badly and has given up what was dear."
    names = [f"Patient {chr(65 + number)}" for number in range(CHAINS // 2)]
    whole["patients"]["simulated"] = [{"name": name, "profile": profile} for name in names]
    whole["engine"] = {"chains_per_worker": SLOTS}
    return scripted.write_study(folder, whole)


def cpu_seconds(name: str) -> dict[str, float]:
    """CPU seconds of the study's Ray pods since they began, by role, read in the pods
    themselves.
    """
    used: dict[str, float] = {}
    for pod in objects("pods", f"cbt-ray/study={name}"):
        role = pod["metadata"]["labels"]["cbt-ray/role"]
        if role in ("head", "worker") and pod["status"]["phase"] == "Running":
            shown = kubectl(
                "exec", pod["metadata"]["name"], "-c", f"ray-{role}", "--", "sh", "-c", USAGE
            )
            used[role] = used.get(role, 0.0) + float(shown)
    return used


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_efficiency(workers: int, tmp_path: Path) -> None:
    needs("scaling", "scaling" in os.environ.get("REQUIRE", "").split(","))
    cluster.serve_llm(LATENCY)
    name, file = f"scale-{workers}", study(tmp_path, workers)
    cluster.forget(name)
    process = cluster.begin(
        "submit", "simulate", file, "--workers", str(workers), log=tmp_path / "log"
    )
    cluster.wait_until(lambda: cluster.calls()["calls"] >= 1, "the first call", 300)
    before = cpu_seconds(name)
    assert process.wait(900) == 0, (tmp_path / "log").read_text()
    after = cpu_seconds(name)  # the Ray cluster stays for a minute after its job
    counted: dict[str, Any] = cluster.calls()
    known = cluster.store()
    records = [
        json.loads(known.read(path) or b"")
        for path in known.list(f"{name}/usage/{Stage.SESSIONS}/")
    ]
    wall = sum(record.get("wall_seconds", 0.0) for record in records)
    ideal = counted["calls"] * LATENCY / (workers * SLOTS)
    cpu = {role: (after[role] - before[role]) / counted["calls"] for role in after}
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("a") as table:
        table.write(
            f"| {workers} | {counted['calls']} | {ideal:.0f} | {counted['seconds']:.0f} | "
            f"{ideal / counted['seconds']:.0%} "
            f"| {wall:.0f} | {ideal / wall:.0%} | {1000 * cpu['worker']:.0f} | "
            f"{1000 * cpu['head']:.0f} |\n"
        )
    assert (
        ideal / counted["seconds"] > 0.3
    )  # two cores are full with four workers, the served model and the cluster itself
