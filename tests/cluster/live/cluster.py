"""The real cluster under test: what `make kind-up` creates, reached as a user reaches it, through
make, cbt-ray and kubectl.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.store import open_store
from cbt_ray.store.store import Store

ROOT = Path(__file__).parents[3]
CLUSTER = os.environ.get("CLUSTER", "cbt-ray")
CONTEXT = f"kind-{CLUSTER}"
NAMESPACE = "cbt-ray"
STORE = "s3://cbt-ray?endpoint=http://127.0.0.1:9900"
LLM = "http://llm.cbt-ray.svc:8000/v1"


def kubectl(*arguments: str, data: str | None = None) -> str:
    """Run kubectl in the study's namespace; answers what it printed."""
    command = ["kubectl", "--context", CONTEXT, "--namespace", NAMESPACE, *arguments]
    return subprocess.run(
        command, input=data, capture_output=True, text=True, check=True, timeout=300
    ).stdout


def objects(kind: str, labels: str = "") -> list[dict[str, Any]]:
    """Objects of a kind, by labels."""
    found: list[dict[str, Any]] = json.loads(
        kubectl("get", kind, "-o", "json", *(["-l", labels] if labels else []))
    )["items"]
    return found


def images() -> dict[str, str]:
    """The images' names as the Makefile has them, for `cbt-ray submit`.

    The environment may name others.
    """
    tag = subprocess.run(
        ["images/tag.sh"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    built = {
        "CBT_RAY_CPU_IMAGE": f"cbt-ray-cpu:{tag}",
        "CBT_RAY_TRAIN_IMAGE": f"cbt-ray-train:{tag}-cpu",
        "CBT_RAY_VLLM_IMAGE": f"cbt-ray-vllm:{tag}-cpu",
    }
    return {name: os.environ.get(name, image) for name, image in built.items()}


def environment() -> dict[str, str]:
    """The environment of a command that submits: the images, and no credentials of this machine's
    own.
    """
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        **images(),
        "PYTHONPATH": str(ROOT),
    }


def command_line(*arguments: str | Path, overlay: str = "kind") -> list[str]:
    """cbt-ray on the cluster under test."""
    return [
        sys.executable,
        "-m",
        "cbt_ray",
        *map(str, arguments),
        "--overlay",
        overlay,
        "--context",
        CONTEXT,
    ]


def cbt_ray(
    *arguments: str | Path, expect: int | None = 0, timeout: float = 900, overlay: str = "kind"
) -> str:
    """Run the command line against the cluster and expect an exit code; answers what it printed."""
    command = command_line(*arguments, overlay=overlay)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment(), check=False
    )
    output = done.stdout + done.stderr
    assert expect is None or done.returncode == expect, (
        f"exit {done.returncode}, expected {expect}:\n{output}"
    )
    return output


def begin(*arguments: str | Path, log: Path) -> subprocess.Popen[str]:
    """Start the command line against the cluster in the background; its output goes to a file."""
    command = command_line(*arguments)
    return subprocess.Popen(
        command, stdout=log.open("w"), stderr=subprocess.STDOUT, text=True, env=environment()
    )


def store() -> Store:
    """The cluster's store, from this machine."""
    secret = json.loads(kubectl("get", "secret", "store", "-o", "json"))["data"]
    for name, value in secret.items():
        os.environ[name] = base64.b64decode(value).decode()
    return open_store(STORE)


def forget(study: str) -> None:
    """Remove what an earlier run of the tests left of a study, in the cluster and in the store."""
    kubectl(
        "delete", "rayjobs,jobs,configmaps", "-l", f"cbt-ray/study={study}", "--ignore-not-found"
    )
    known = store()
    for path in list(known.list(f"{study}/")):
        known.delete(path)


def units(known: Store, study: str, *stages: str) -> dict[str, bytes]:
    """What lies in the store under a study's stages: path to bytes."""
    paths = [path for stage in stages for path in known.list(f"{study}/{stage}/")]
    return {path: known.read(path) or b"" for path in paths}


def wait_until(
    true: Callable[[], bool], what: str, seconds: float = 300, every: float = 0.3
) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(every)
    raise AssertionError(f"waited {seconds:.0f} s in vain for: {what}")


def serve_llm(latency: float) -> None:
    """Run the scripted model behind HTTP in a pod, with a fixed latency.

    Its tally begins at nought.
    """
    script = (ROOT / "tests" / "cluster" / "llm_server.py").read_text()
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "llm",
        "image": images()["CBT_RAY_CPU_IMAGE"],
        "command": ["python", "/llm/llm_server.py", "--latency", str(latency)],
        "ports": [{"containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/count", "port": 8000}, "periodSeconds": 1},
        "livenessProbe": {
            "httpGet": {"path": "/count", "port": 8000},
            "timeoutSeconds": 20,
            "failureThreshold": 10,
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "16Mi"},
            "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "64Mi"},
        },
        "securityContext": restricted,
        "volumeMounts": [{"name": "llm", "mountPath": "/llm", "readOnly": True}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": {"cbt-ray/store": "true"},  # not on the node that a test stops
        "containers": [container],
        "volumes": [{"name": "llm", "configMap": {"name": "llm"}}],
    }
    labels = {"cbt-ray/role": "llm"}
    documents = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "llm"},
            "data": {"llm_server.py": script},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "llm"},
            "spec": {"selector": labels, "ports": [{"port": 8000}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "llm"},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]
    kubectl("delete", "deployment", "llm", "--ignore-not-found", "--wait")
    kubectl("apply", "-f", "-", data=yaml.safe_dump_all(documents))
    kubectl("rollout", "status", "deployment/llm", "--timeout", "180s")


def calls() -> dict[str, int]:
    """What the served model has counted so far."""
    path = f"/api/v1/namespaces/{NAMESPACE}/services/llm:8000/proxy/count"
    counted: dict[str, int] = json.loads(kubectl("get", "--raw", path))
    return counted
