"""The manifests of k8s/ as kustomize renders them, and the pods that they lead to."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cbt_ray.cluster.pod import completed
from tests.needs import needs

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("kind", "gpu")
PROVIDERS = ("eks", "gke", "on-premises")
"""Examples built on gpu."""
TEMPLATE = "cbt-ray/template"
STAGE = "cbt-ray/stage"
SERVER = "cbt-ray/server"
ROLE = "cbt-ray/role"


def render(folder: Path) -> list[Manifest]:
    """All objects of a kustomization, with what its pods have in common laid under them.

    Skips the test where kubectl is missing.
    """
    needs("kubectl", shutil.which("kubectl") is not None)
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # deprecations
    found = [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]
    return completed(found)


@functools.cache
def overlay(name: str) -> list[Manifest]:
    """All objects of an overlay; not to be changed."""
    return render(K8S / "overlays" / name)


def with_components(folder: Path, base: str, *components: str) -> list[Manifest]:
    """A kustomization, made in `folder`, of a folder of k8s/ and some of its components: what a
    user's own overlay is.
    """
    paths = [
        os.path.relpath((K8S / path).resolve(), folder.resolve())
        for path in (base, *(f"components/{c}" for c in components))
    ]
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "cbt-ray",
    }
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(own | {"resources": paths[:1], "components": paths[1:]})
    )
    return render(folder)


def templates(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The templates of jobs, by stage."""
    found = [m for m in manifests if TEMPLATE in labels(m) and SERVER not in labels(m)]
    assert len({labels(m)[STAGE] for m in found}) == len(found)
    return {labels(m)[STAGE]: m for m in found}


def server(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The templates of a server of models, by kind."""
    return {m["kind"]: m for m in manifests if TEMPLATE in labels(m) and SERVER in labels(m)}


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The object of a kind and name."""
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def labels(manifest: Manifest) -> dict[str, str]:
    """An object's labels."""
    return dict(manifest["metadata"].get("labels") or {})


def pod_templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """The pods that an object leads to: a name for messages, and the pod template."""
    name, spec = f"{manifest['kind']} {manifest['metadata']['name']}", manifest.get("spec", {})
    if manifest["kind"] in ("Job", "Deployment", "StatefulSet"):
        yield name, spec["template"]
    if manifest["kind"] == "RayJob":
        yield f"{name} submitter", spec["submitterPodTemplate"]
        yield f"{name} head", spec["rayClusterSpec"]["headGroupSpec"]["template"]
        for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
            yield f"{name} {group['groupName']}", group["template"]


def all_pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pods of all objects."""
    for manifest in manifests:
        yield from pod_templates(manifest)


def containers(pod: Manifest) -> Iterator[Manifest]:
    """All containers of a pod's spec, init containers among them."""
    yield from pod.get("initContainers") or []
    yield from pod["containers"]


def strings(value: Any) -> Iterator[str]:
    """Every string in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
