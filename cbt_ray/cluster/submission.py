"""A submission: one batch job of a study as an object for the cluster, made from the overlay's
template. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from cbt_ray.batch.attempt import SUBMISSION
from cbt_ray.batch.job import BatchJob
from cbt_ray.cluster.overlay import STAGE
from cbt_ray.cluster.pod import STUDY, TEMPLATE, Manifest, containers_of, pod_templates
from cbt_ray.study import Study
from cbt_ray.study.serving import Server
from cbt_ray.unit import digest

LONGEST_NAME = 47
"""KubeRay refuses longer names of RayJobs."""
LABEL = "cbt-ray/submission"
MODEL = "cbt-ray/model"
KEYS = "llm-keys"
"""The Secret with the API keys of the study's endpoints."""
IMAGES = {"cbt-ray-cpu": "cpu", "cbt-ray-train": "train", "cbt-ray-vllm": "vllm"}


@dataclass(frozen=True)
class Images:
    """The images, with their tags; None: as the overlay names them."""

    cpu: str | None = None
    train: str | None = None
    vllm: str | None = None

    def named(self, image: str) -> str:
        """The image of a template's container, whose repository may have been renamed by the
        overlay. One that the overlay names by its digest is meant, whatever tag is given.
        """
        name, _, pinned = image.partition("@")
        kind = IMAGES.get(name.rsplit("/", 1)[-1].partition(":")[0])
        told = (getattr(self, kind) if kind else None) or image
        return image if pinned and "@" not in told else told


@dataclass(frozen=True)
class Submission:
    """What of a study is submitted."""

    job: BatchJob
    study: Study
    store: str
    """The store's URL as pods reach it."""
    targets: list[str]
    """All keys that the job is there to make."""
    images: Images
    model: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    """The study's own prompts: path in its folder to text."""
    pairs: Mapping[str, str] = field(default_factory=dict)
    """Preference pairs of models, as pods find them in the store."""
    keys: tuple[str, ...] = ()
    """Environment variables that hold keys of the endpoints which the job calls."""
    pods: int | None = None
    """Worker pods of a RayJob."""
    workers: int | None = None
    """Workers that are useful; only where Ray scales itself: those that wait for a node show it how
    many it wants."""
    autoscaled: bool = False
    servers: tuple[Server, ...] = ()
    """Servers of models that the job asks."""
    id: str = ""
    """Random: all attempts of one object share it."""

    def name(self, template: Manifest) -> str:
        """`<study>-<job>[-<model>]-<hash of keys and images>`, cut to what KubeRay allows."""
        used = {self.images.named(image) for image in _images(template)}
        if self.servers and self.images.vllm:
            used.add(self.images.vllm)
        suffix = digest([self.targets, sorted(used)])[:8]
        parts = [self.study.study, self.job.value, *([self.model] if self.model else [])]
        free = LONGEST_NAME - len(suffix) - 1
        while len("-".join(parts)) > free:
            longest = max(range(len(parts)), key=lambda i: (i != 1) * len(parts[i]))
            parts[longest] = parts[longest][:-1].rstrip("-")
        return "-".join([*parts, suffix])

    def server_name(self, name: str, server: Server) -> str:
        """The name of a server's objects: of one submission, model and endpoint."""
        return _server(name, server.endpoint).replace("{model}", server.model)

    def config_map(self, name: str, namespace: str) -> Manifest:
        """The ConfigMap with the whole study in one file, and its own prompts."""
        # An address of the study file is one of this machine's. Ray scales by actors that wait for
        # a node, so there must be some.
        engine = self.study.engine.model_copy(
            update={"address": None} | ({"workers": self.workers} if self.autoscaled else {})
        )
        document = self.study.model_dump(mode="json", exclude_none=True) | {
            "store": self.store,
            "engine": engine.model_dump(exclude_none=True),
        }
        for endpoint in {server.endpoint for server in self.servers}:
            address = f"http://{_server(name, endpoint)}:8000/v1"
            document["endpoints"][endpoint]["api_base"] = address
        for model, pairs in self.pairs.items():
            document["models"][model]["recipe"]["preferences"] = pairs
        if self.prompts:
            document["prompts"] = "prompts"
        data = {"study.yaml": yaml.safe_dump(document, sort_keys=False, allow_unicode=True)}
        data |= {f"prompt-{number}": text for number, text in enumerate(self.prompts.values())}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "labels": self.labels},
            "immutable": True,  # a running job must not see another study
            "data": data,
        }

    def fill(self, template: Manifest) -> Manifest:
        """The template with this submission's name, study, images, keys and workers filled in."""
        name = self.name(template)
        meta = template["metadata"]
        meta["name"] = name
        meta["labels"] = {
            k: v for k, v in meta.get("labels", {}).items() if k != TEMPLATE
        } | self.labels
        if self.job.on_ray:
            self._fill_workers(template["spec"]["rayClusterSpec"])
        spec = template["spec"]
        if self.job is BatchJob.TRAIN and "activeDeadlineSeconds" in spec:  # of one training
            spec["activeDeadlineSeconds"] *= max(1, len(self.targets))
        for pod in pod_templates(template):
            labels = pod.setdefault("metadata", {}).setdefault("labels", {})
            labels.pop(TEMPLATE, None)
            labels |= self.labels
            self.fill_pod(pod["spec"], name)
        return template

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all its objects and pods."""
        labels = {LABEL: self.id, STAGE: self.job.value, "cbt-ray/study": self.study.study}
        return labels | ({MODEL: self.model} if self.model else {})

    def fill_pod(self, spec: dict[str, Any], name: str) -> None:
        """Fill the study, images and keys into a pod's spec."""
        for volume in spec.get("volumes", []):
            if volume["name"] == STUDY:
                volume["configMap"] = volume.get("configMap", {}) | {
                    "name": name,
                    "items": list(self._items()),
                }
        for container in containers_of(spec):
            container["image"] = self.images.named(container["image"])
            if container["name"] in ("job", "ray-head", "ray-worker", "vllm"):
                container.setdefault("env", []).extend(self._env())
            if container["name"] == "job" and self.model:
                container["args"] = [*container.get("args", []), "--model", self.model]

    def _items(self) -> Iterator[dict[str, str]]:
        yield {"key": "study.yaml", "path": "study.yaml"}
        for number, path in enumerate(self.prompts):
            yield {"key": f"prompt-{number}", "path": f"prompts/{path}"}

    def _env(self) -> Iterator[dict[str, Any]]:
        yield {"name": SUBMISSION, "value": self.id}
        for key in self.keys:
            yield {"name": key, "valueFrom": {"secretKeyRef": {"name": KEYS, "key": key}}}

    def _fill_workers(self, cluster: dict[str, Any]) -> None:
        group = cluster["workerGroupSpecs"][0]
        if self.pods is not None:
            group |= {"replicas": self.pods, "minReplicas": self.pods, "maxReplicas": self.pods}
        if self.autoscaled:
            group |= {"replicas": 1, "minReplicas": 1}
            _autoscale(cluster)


def _server(name: str, endpoint: str) -> str:
    """The names of an endpoint's servers, with `{model}` for the base model."""
    return f"vllm-{{model}}-{digest([name, endpoint])[:8]}"


def _autoscale(cluster: dict[str, Any]) -> None:
    """Let Ray's autoscaler change the RayCluster: its container in the head's pod, and no other,
    gets a token.
    """
    cluster["enableInTreeAutoscaling"] = True
    head = cluster["headGroupSpec"]["template"]
    head["spec"]["serviceAccountName"] = "autoscaler"
    head["metadata"].setdefault("labels", {})["cbt-ray/autoscaled"] = "true"
    head["spec"].setdefault("volumes", []).append(
        {"name": "api-access", "projected": {"sources": _API_ACCESS}}
    )
    mounts = cluster.setdefault("autoscalerOptions", {}).setdefault("volumeMounts", [])
    mounts.append(
        {
            "name": "api-access",
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            "readOnly": True,
        }
    )


_API_ACCESS = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
]
"""What Kubernetes itself mounts where a pod asks for a token."""


def _images(manifest: Manifest) -> Iterator[str]:
    for pod in pod_templates(manifest):
        yield from (container["image"] for container in containers_of(pod["spec"]))


def pods_for(workers: int, cpus: int, template: Manifest) -> int:
    """Pods that hold so many workers; at least one."""
    return max(1, math.ceil(workers * cpus / cpus_of_pod(template)))


def cpus_of_pod(template: Manifest) -> float:
    """CPUs that Ray counts in one worker pod: `num-cpus`, or the limit of its container."""
    group = template["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    told = group.get("rayStartParams", {}).get("num-cpus")
    limit = (
        group["template"]["spec"]["containers"][0]
        .get("resources", {})
        .get("limits", {})
        .get("cpu", "1")
    )
    text = str(told or limit)
    return max(1.0, float(text[:-1]) / 1000 if text.endswith("m") else float(text))
