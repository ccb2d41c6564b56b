"""The gpu overlay on a node with a pretend GPU (nothing computes on one), and base weights fetched
before a GPU is asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.gpu import ASKED
from tests.cluster.live import cluster
from tests.cluster.live.cluster import CLUSTER, ROOT, kubectl, objects
from tests.cluster.live.test_study import document
from tests.stages import scripted

pytestmark = pytest.mark.usefixtures("asked_for")
GPU = "nvidia.com/gpu"
NODE = f"{CLUSTER}-worker2"
HUB_PORT = 9911
RESOURCES = "/spec/template/spec/containers/0/resources"
SMALLER = [
    {"op": "replace", "path": f"{RESOURCES}/{kind}/memory", "value": size}
    for kind, size in (("requests", "1Gi"), ("limits", "6Gi"))
] + [
    {"op": "replace", "path": f"{RESOURCES}/requests/{kind}", "value": size}
    for kind, size in (("cpu", "500m"), ("ephemeral-storage", "2Gi"))
]
"""What fits into this cluster: two nodes on one machine."""
JOB = {"name": "job", "env": [{"name": ASKED, "value": "0"}]}
PRETENDED = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "train"},
    "spec": {"template": {"spec": {"containers": [JOB]}}},
}
"""torch sees no GPU that is there on paper only, and the job would end with 2."""


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gpu overlay as a user fits it to a cluster: the store is this cluster's, the image the
    one that runs without CUDA.
    """
    folder = tmp_path_factory.mktemp("overlay") / "gpu-here"
    folder.mkdir()
    cluster_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster", "namespace": "cbt-ray"},
        "data": {
            "store": "s3://cbt-ray?endpoint=http://store.cbt-ray.svc:9000",
            "store_outside": cluster.STORE,
        },
    }
    (folder / "cluster.yaml").write_text(yaml.safe_dump(cluster_map))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "k8s" / "overlays" / "gpu", folder)],
        "components": [
            os.path.relpath(ROOT / "k8s" / "components" / one, folder)
            for one in ("store", "loaded")
        ],
        "patches": [
            {"path": "cluster.yaml"},
            {"target": {"kind": "Job", "name": "train|export"}, "patch": json.dumps(SMALLER)},
            {"patch": yaml.safe_dump(PRETENDED)},
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


@pytest.fixture
def gpu() -> Iterator[None]:
    """Gives a node one GPU on paper, and takes it away."""
    give_gpu(True)
    yield
    give_gpu(False)


def give_gpu(given: bool) -> None:
    path = f"/status/capacity/{GPU.replace('/', '~1')}"
    change = (
        [{"op": "add", "path": path, "value": "1"}] if given else [{"op": "remove", "path": path}]
    )
    kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps(change))


def submit(study: Path, overlay: Path, *options: str, expect: int = 0) -> str:
    """Submit the training with the gpu overlay."""
    return cluster.cbt_ray(
        "submit", "train", study, "--model", "first", *options, overlay=str(overlay), expect=expect
    )


def asks_for_gpu(pod: dict[str, Any]) -> bool:
    return any(
        GPU in (c.get("resources", {}).get("limits") or {}) for c in pod["spec"]["containers"]
    )


def study_in(folder: Path, name: str, **changes: Any) -> Path:
    """A study with its dataset made."""
    cluster.forget(name)
    whole = document("runs", study=name, **changes)
    study = scripted.write_study(folder, whole)
    cluster.cbt_ray("submit", "generate", study)
    return study


def test_without_a_gpu_the_missing_resource_is_named_and_with_one_the_pod_goes_there(
    overlay: Path, tmp_path: Path
) -> None:
    study = study_in(tmp_path, "pretend")
    output = submit(study, overlay, "--patience", "20", expect=1)
    last = output.splitlines()[-1]
    assert (
        f"{GPU} is missing on 2 of 3 nodes" in last or f"{GPU} is missing on 3 of 3 nodes" in last
    ), output
    assert "(waited 2" in last
    (waiting,) = list(objects("pods", "cbt-ray/study=pretend,cbt-ray/role=train"))
    assert waiting["status"]["phase"] == "Pending"
    give_gpu(True)
    try:
        output = submit(study, overlay)
        assert "attached to it" in output
    finally:
        give_gpu(False)
    (pod,) = list(objects("pods", "cbt-ray/study=pretend,cbt-ray/role=train"))
    assert pod["spec"]["nodeName"] == NODE
    assert asks_for_gpu(pod)


def test_no_pod_asks_for_a_gpu_while_weights_are_fetched(
    overlay: Path, gpu: None, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.training.start.hub_server",
            str(hub),
            "--make",
            "lab/smollm2",
        ],
        cwd=ROOT,
        check=True,
    )
    everywhere = ["--host", "0.0.0.0", "--port", str(HUB_PORT)]  # noqa: S104  the cluster's pods reach it
    serve = [sys.executable, "-m", "tests.training.start.hub_server", str(hub), *everywhere]
    serving = subprocess.Popen(serve, cwd=ROOT)
    gateway = subprocess.run(
        [
            "docker",
            "network",
            "inspect",
            "kind",
            "--format",
            "{{range .IPAM.Config}}{{.Gateway}} {{end}}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    address = next(part for part in gateway if "." in part)
    kubectl(
        "patch",
        "configmap",
        "cluster",
        "--type=merge",
        "-p",
        json.dumps({"data": {"hf_endpoint": f"http://{address}:{HUB_PORT}"}}),
    )
    seen: list[tuple[float, str, bool, str]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for pod in objects("pods", "cbt-ray/study=hubbed"):
                role = pod["metadata"]["labels"]["cbt-ray/role"]
                seen.append((time.monotonic(), role, asks_for_gpu(pod), pod["status"]["phase"]))
            time.sleep(0.5)

    cluster.forget("hubbed")
    known = cluster.store()
    for path in list(known.list("weights/lab--smollm2/")):
        known.delete(path)
    whole = document("runs", study="hubbed")
    whole["models"]["first"]["recipe"] |= {"start": "lab/smollm2", "compare": "lab/smollm2"}
    study = scripted.write_study(tmp_path, whole)
    try:
        cluster.cbt_ray("submit", "generate", study)
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        output = submit(study, overlay)
        ended.set()
        thread.join()
    finally:
        serving.kill()
        kubectl(
            "patch",
            "configmap",
            "cluster",
            "--type=merge",
            "-p",
            json.dumps({"data": {"hf_endpoint": None}}),
        )
    print(output)
    fetched = [at for at, role, _, phase in seen if role == "fetch" and phase == "Running"]
    asked = [at for at, _, asks, _ in seen if asks]
    assert fetched
    assert asked
    assert max(fetched) < min(asked), "the GPU is asked for when the weights are complete"
    assert any(path.endswith("main.json") for path in cluster.store().list("weights/lab--smollm2/"))
