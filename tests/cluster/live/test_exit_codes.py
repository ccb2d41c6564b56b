"""What Kubernetes does with the exit codes of a train Job and a RayJob: 2 ends it, 1 and 137 are
tried again, up to the limit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.live import cluster
from tests.cluster.live.cluster import kubectl, objects, wait_until
from tests.cluster.live.test_study import document
from tests.stages import scripted

pytestmark = pytest.mark.usefixtures("asked_for")
LIMIT = 1


def rendered(folder: Path, job: str, study: str, **changes: Any) -> list[dict[str, Any]]:
    """The objects that `submit` would create.

    These tests change one thing in them and apply them by hand.
    """
    if job == "generate" or study != "killed":
        cluster.forget(study)
    file = scripted.write_study(folder, document("runs", study=study, **changes))
    model = ["--model", "first"] if job == "train" else []
    command = [sys.executable, "-m", "cbt_ray", "submit", job, str(file), *model, "--dry-run"]
    done = subprocess.run(
        command, env=cluster.environment(), capture_output=True, text=True, check=True
    )
    found = list(yaml.safe_load_all(done.stdout))
    found[-1]["spec"]["backoffLimit"] = LIMIT
    return found


def apply(documents: list[dict[str, Any]]) -> str:
    kubectl("apply", "-f", "-", data=yaml.safe_dump_all(documents))
    return str(documents[-1]["metadata"]["name"])


def job_ended(name: str) -> str:
    """Wait for the Job's end; answers its reason."""

    def reasons() -> list[str]:
        status = json.loads(kubectl("get", "job", name, "-o", "json"))["status"]
        return [
            c["reason"]
            for c in status.get("conditions", [])
            if c["type"] == "Failed" and c["status"] == "True"
        ]

    wait_until(lambda: bool(reasons()), f"{name} failed", 300, every=1)
    return reasons()[0]


def exit_codes(study: str) -> list[int]:
    pods = objects("pods", f"cbt-ray/study={study},cbt-ray/role=train")
    return [
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for pod in pods
    ]


def test_exit_2_of_a_training_is_not_tried_again(tmp_path: Path) -> None:
    documents = rendered(tmp_path, "train", "code-two")
    container = documents[-1]["spec"]["template"]["spec"]["containers"][0]
    container["args"] = ["nonsense" if arg == "first" else arg for arg in container["args"]]
    name = apply(documents)
    assert job_ended(name) == "PodFailurePolicy"
    assert exit_codes("code-two") == [2]


def test_exit_1_of_a_training_is_tried_again_up_to_the_limit(tmp_path: Path) -> None:
    name = apply(rendered(tmp_path, "train", "code-one"))  # its dataset is owed
    assert job_ended(name) == "BackoffLimitExceeded"
    assert exit_codes("code-one") == [1] * (LIMIT + 1)


def test_137_is_tried_again_and_the_memory_limit_is_named(tmp_path: Path) -> None:
    cluster.forget("killed")
    study = scripted.write_study(tmp_path, document("runs", study="killed"))
    cluster.cbt_ray("submit", "generate", study)
    documents = rendered(tmp_path, "train", "killed")
    resources = documents[-1]["spec"]["template"]["spec"]["containers"][0]["resources"]
    resources["requests"]["memory"] = resources["limits"]["memory"] = "200Mi"
    apply(documents)
    output = cluster.cbt_ray("submit", "train", study, "--model", "first", expect=1)
    assert "attached to it" in output
    assert "job ran out of memory (limit 200Mi)" in output
    assert exit_codes("killed") == [137] * (LIMIT + 1)


@pytest.mark.parametrize("code", [1])
def test_exit_1_of_a_rayjob_is_tried_again_up_to_the_limit(code: int, tmp_path: Path) -> None:
    nobody = {
        "kind": "litellm",
        "model": "openai/none",
        "api_base": "http://127.0.0.1:1/v1",
        "price": [0, 0],
        "timeout_s": 2,
    }
    documents = rendered(tmp_path, "generate", "nobody", endpoints={"script": nobody})
    name = apply(documents)

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubectl("get", "rayjob", name, "-o", "json")).get(
            "status", {}
        )
        return found

    wait_until(
        lambda: status().get("jobDeploymentStatus") == "Failed", f"{name} failed", 600, every=2
    )
    assert status()["failed"] == LIMIT + 1
    known = cluster.store()
    codes = [json.loads(known.read(path) or b"")["code"] for path in known.list("nobody/attempts/")]
    assert codes == [code] * (LIMIT + 1)
    kubectl("delete", "rayjob", name)
