"""kube-score's critical checks by its own names, as pure functions of all objects of a cluster.

Its program is not needed; what a Ray job's pods lack it could not see. Checks of kinds of objects
that this project has none of (ingresses, autoscalers, cron jobs) are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from cbt_ray.cluster.pod import Manifest, containers_of, pod_templates

Found = Iterator[str]
CONTROLLED = ("Deployment", "StatefulSet")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LEAST_ID = 10_000
_PROBES = ("httpGet", "tcpSocket", "exec")


def criticals(objects: list[Manifest]) -> list[str]:
    """Each check that some object fails, with the object."""
    return [f"{check}: {text}" for check, run in CRITICAL.items() for text in run(objects)]


def _pods(objects: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for one in objects:
        for pod in pod_templates(one):
            yield f"{one['kind']} {one['metadata']['name']}", pod


def _containers(objects: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    for name, pod in _pods(objects):
        for container in containers_of(pod["spec"]):
            yield f"{name} {container['name']}", container, pod["spec"]


def _of(objects: list[Manifest], *kinds: str) -> Iterator[tuple[str, Manifest]]:
    for one in objects:
        if one["kind"] in kinds:
            yield f"{one['kind']} {one['metadata']['name']}", one["spec"]


def _labels(pod: Manifest) -> dict[str, str]:
    return dict(pod["metadata"].get("labels") or {})


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    has = {
        "In": lambda rule: labels.get(rule["key"]) in rule["values"],
        "NotIn": lambda rule: labels.get(rule["key"]) not in rule["values"],
        "Exists": lambda rule: rule["key"] in labels,
        "DoesNotExist": lambda rule: rule["key"] not in labels,
    }
    return (selector.get("matchLabels") or {}).items() <= labels.items() and all(
        has[rule["operator"]](rule) for rule in selector.get("matchExpressions") or []
    )


def _amounts(*resources: str) -> Callable[[list[Manifest]], Found]:
    def check(objects: list[Manifest]) -> Found:
        for name, container, _ in _containers(objects):
            for kind in ("requests", "limits"):
                known = (container.get("resources") or {}).get(kind) or {}
                yield from (f"{name}: {kind} {one}" for one in resources if one not in known)

    return check


def _tag(objects: list[Manifest]) -> Found:
    for name, container, _ in _containers(objects):
        last = container["image"].rsplit("/", 1)[-1]
        if "@" not in last and last.partition(":")[2] in ("", "latest"):
            yield f"{name}: {container['image']}"


def _pulled(objects: list[Manifest]) -> Found:
    for name, container, _ in _containers(objects):
        if container.get("imagePullPolicy") != "Always":
            yield name


def _doubled(objects: list[Manifest]) -> Found:
    for name, container, _ in _containers(objects):
        counted = Counter(one["name"] for one in container.get("env") or [])
        yield from (f"{name}: {variable}" for variable, count in counted.items() if count > 1)


def _ids(objects: list[Manifest]) -> Found:
    for name, container, pod in _containers(objects):
        own = (pod.get("securityContext") or {}) | (container.get("securityContext") or {})
        if min(own.get("runAsUser", 0), own.get("runAsGroup", 0)) < LEAST_ID:
            yield name


def _secured(field: str, wanted: bool) -> Callable[[list[Manifest]], Found]:
    def check(objects: list[Manifest]) -> Found:
        for name, container, _ in _containers(objects):
            if bool((container.get("securityContext") or {}).get(field)) is not wanted:
                yield name

    return check


def _budgeted(objects: list[Manifest]) -> Found:
    budgets = [spec["selector"] for _, spec in _of(objects, "PodDisruptionBudget")]
    for name, spec in _of(objects, *CONTROLLED):
        labels = _labels(spec["template"])
        if spec.get("replicas", 2) > 1 and not any(_matches(one, labels) for one in budgets):
            yield name


def _bounded(objects: list[Manifest]) -> Found:
    for name, spec in _of(objects, "PodDisruptionBudget"):
        if not {"minAvailable", "maxUnavailable"} & set(spec):
            yield name


def _policed(objects: list[Manifest]) -> Found:
    policies = [spec for _, spec in _of(objects, "NetworkPolicy")]
    for name, pod in _pods(objects):
        mine = [one for one in policies if _matches(one["podSelector"], _labels(pod))]
        missing = {"Ingress", "Egress"} - {side for one in mine for side in one["policyTypes"]}
        yield from (f"{name}: {side}" for side in sorted(missing))


def _aimed(objects: list[Manifest]) -> Found:
    for name, spec in _of(objects, "NetworkPolicy"):
        if not any(_matches(spec["podSelector"], _labels(pod)) for _, pod in _pods(objects)):
            yield name


def _serving(objects: list[Manifest]) -> Found:
    for name, spec in _of(objects, "Service"):
        if not any(spec["selector"].items() <= _labels(pod).items() for _, pod in _pods(objects)):
            yield name


def _probed(objects: list[Manifest]) -> Found:
    selectors = [spec["selector"].items() for _, spec in _of(objects, "Service")]
    for name, pod in _pods(objects):
        if any(selector <= _labels(pod).items() for selector in selectors) and not any(
            "readinessProbe" in one for one in containers_of(pod["spec"])
        ):
            yield name


def _probed_alike(objects: list[Manifest]) -> Found:
    """Ray's pods have one health that can be asked for, and patience in place of a second one."""
    controlled = [one for one in objects if one["kind"] in CONTROLLED]
    for name, container, _ in _containers(controlled):
        ready, lives = (container.get(f"{one}Probe") or {} for one in ("readiness", "liveness"))
        if any(way in ready and ready[way] == lives.get(way) for way in _PROBES):
            yield name


def _named(objects: list[Manifest]) -> Found:
    headless = {
        name.split()[1] for name, spec in _of(objects, "Service") if spec.get("clusterIP") == "None"
    }
    for name, spec in _of(objects, "StatefulSet"):
        if spec.get("serviceName") not in headless:
            yield name


def _selecting(kind: str) -> Callable[[list[Manifest]], Found]:
    def check(objects: list[Manifest]) -> Found:
        for name, spec in _of(objects, kind):
            if not _matches(spec["selector"], _labels(spec["template"])):
                yield name

    return check


def _labelled(objects: list[Manifest]) -> Found:
    for one in objects:
        for pod in ({"metadata": one["metadata"]}, *pod_templates(one)):
            for value in _labels(pod).values():
                if not LABEL.fullmatch(value):
                    yield f"{one['kind']} {one['metadata']['name']}: {value}"


def _spread(objects: list[Manifest]) -> Found:
    for name, pod in _pods(objects):
        for one in pod["spec"].get("topologySpreadConstraints") or []:
            whole = one.get("labelSelector") and one.get("topologyKey") and one.get("maxSkew")
            if not whole or one["whenUnsatisfiable"] not in ("DoNotSchedule", "ScheduleAnyway"):
                yield name


CRITICAL: dict[str, Callable[[list[Manifest]], Found]] = {
    "container-resources": _amounts("cpu", "memory"),
    "container-ephemeral-storage-request-and-limit": _amounts("ephemeral-storage"),
    "container-image-tag": _tag,
    "container-image-pull-policy": _pulled,
    "environment-variable-key-duplication": _doubled,
    "container-security-context-user-group-id": _ids,
    "container-security-context-privileged": _secured("privileged", wanted=False),
    "container-security-context-readonlyrootfilesystem": _secured(
        "readOnlyRootFilesystem", wanted=True
    ),
    "deployment-has-poddisruptionbudget": _budgeted,
    "poddisruptionbudget-has-policy": _bounded,
    "pod-networkpolicy": _policed,
    "networkpolicy-targets-pod": _aimed,
    "service-targets-pod": _serving,
    "pod-probes": _probed,
    "pod-probes-identical": _probed_alike,
    "statefulset-has-servicename": _named,
    "deployment-pod-selector-labels-match-template-metadata-labels": _selecting("Deployment"),
    "statefulset-pod-selector-labels-match-template-metadata-labels": _selecting("StatefulSet"),
    "label-values": _labelled,
    "pod-topology-spread-constraints": _spread,
}
