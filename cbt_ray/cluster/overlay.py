"""An overlay of k8s/: all objects that kustomize renders from it, the jobs' templates among
them.
"""

from __future__ import annotations

import copy
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from cbt_ray.batch.job import BatchJob
from cbt_ray.cluster.pod import TEMPLATE, Manifest, completed
from cbt_ray.errors import InputError
from cbt_ray.shipped import shipped

FOLDER = shipped("k8s")
STAGE = "cbt-ray/stage"
SERVER = "cbt-ray/server"
SETTINGS = "cluster"
"""The ConfigMap in which an overlay says where its store is."""


@dataclass(frozen=True)
class Overlay:
    """A rendered overlay."""

    name: str
    manifests: list[Manifest]

    def template(self, job: BatchJob) -> Manifest:
        """A copy of the object that a job is made from; InputError where the overlay has none."""
        for manifest in self.manifests:
            labels = manifest["metadata"].get("labels", {})
            if TEMPLATE in labels and labels.get(STAGE) == job.value:
                return copy.deepcopy(manifest)
        raise InputError(
            f"--overlay {self.name}: expected a template with the label {STAGE}: {job}"
        )

    @property
    def servers(self) -> list[Manifest]:
        """The objects that a server of models is made from; InputError where there are none."""
        found = []
        for manifest in self.manifests:
            labels = manifest["metadata"].get("labels", {})
            if TEMPLATE in labels and SERVER in labels:
                found.append(manifest)
        if not found:
            raise InputError(f"--overlay {self.name}: expected templates with the label {SERVER}")
        return found

    @property
    def settings(self) -> dict[str, str]:
        """What the overlay says of its cluster: `store` as pods reach it, `store_outside` as this
        machine does.
        """
        for manifest in self.manifests:
            if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"] == SETTINGS:
                return dict(manifest.get("data") or {})
        return {}

    @property
    def namespace(self) -> str:
        """Where its jobs run."""
        return next(str(m["metadata"]["name"]) for m in self.manifests if m["kind"] == "Namespace")


def render(name: str) -> Overlay:
    """Render an overlay by its name under k8s/overlays, or by its folder. Raises InputError."""
    folder = Path(name) if "/" in name else FOLDER / "overlays" / name
    if not (folder / "kustomization.yaml").is_file():
        known = sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml"))
        raise InputError(
            f"--overlay {name}: expected one of {known}, or a folder with a kustomization.yaml"
        )
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise InputError("kubectl: expected it on the PATH (its kustomize renders k8s/)")
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InputError(f"--overlay {name}: kustomize refuses it: {' '.join(done.stderr.split())}")
    found = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    return Overlay(name, completed(found))
