"""What pods have in common: the PodTemplates of an overlay, laid under the pods of every job and
server, whatever kind of object those are of. Pure.

A pod's own words win over what is laid under it; what is in a list is added to it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from cbt_ray.errors import InputError

Manifest = dict[str, Any]
Spec = dict[str, Any]
TEMPLATE = "cbt-ray/template"
PODS = "cbt-ray/pods"
"""On a PodTemplate: which pods it is laid under."""
EVERY = "every"
"""The container of a PodTemplate that stands for each container of a pod."""
STUDY = "study"
"""The volume of all pods that run the study's code."""
LEAST = 2**30
"""Bytes of its node's disk that a container still asks for where a claim holds its volume."""
_KEYS = {
    "env": "name",
    "volumeMounts": "mountPath",
    "volumes": "name",
    "imagePullSecrets": "name",
}
"""By what entries of a list are the same."""
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def completed(manifests: list[Manifest]) -> list[Manifest]:
    """All objects but the PodTemplates, those laid under the pods of the templates among them."""
    commons = [one for one in manifests if one["kind"] == "PodTemplate" and PODS in _labels(one)]
    rest = [copy.deepcopy(one) for one in manifests if one not in commons]
    for manifest in rest:
        for pod in pod_templates(manifest) if TEMPLATE in _labels(manifest) else ():
            for common in commons:
                if _is_for(common, pod["spec"]):
                    _lay_under(pod, common["template"])
    return rest


def pod_templates(value: Any) -> Iterator[Manifest]:
    """All pod templates within an object."""
    if isinstance(value, list):
        for item in value:
            yield from pod_templates(item)
    elif isinstance(value, dict):
        spec = value.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            yield value
        else:
            yield from pod_templates(list(value.values()))


def containers_of(spec: Spec) -> list[Spec]:
    """All containers of a pod's spec, those that run first before the others."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def _labels(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("labels") or {}


def _runs_study(spec: Spec) -> bool:
    return any(volume["name"] == STUDY for volume in spec.get("volumes", []))


def _has_gpu(spec: Spec) -> bool:
    """Whether it asks for what only some nodes have, which Kubernetes names with a domain."""
    limits = [one.get("resources", {}).get("limits", {}) for one in containers_of(spec)]
    return any("/" in resource for limit in limits for resource in limit)


_WHICH: dict[str, Callable[[Spec], bool]] = {
    "every": lambda _: True,
    "study": _runs_study,
    "gpu": _has_gpu,
}


def _is_for(common: Manifest, spec: Spec) -> bool:
    named = _labels(common)[PODS]
    if named not in _WHICH:
        where = f"PodTemplate {common['metadata']['name']}: label {PODS}"
        raise InputError(f"{where}: expected one of {sorted(_WHICH)}, found {named!r}")
    return _WHICH[named](spec)


def _lay_under(pod: Manifest, common: Manifest) -> None:
    spec = dict(common["spec"])
    named = {one["name"]: one for one in spec.pop("containers")}
    for container in containers_of(pod["spec"]):
        container |= _merged(container, named.get(EVERY, {}))
    for volume in spec.get("volumes", []):
        _move(pod["spec"], volume)
    pod |= _merged(pod, {"metadata": common.get("metadata", {}), "spec": spec})
    _drop_unused(pod["spec"])


def _merged(own: Any, common: Any, field: str = "") -> Any:
    """What is the pod's own, with all that only the other one has."""
    if isinstance(own, dict) and isinstance(common, dict):
        both = {key: _merged(own[key], common[key], key) for key in own if key in common}
        return copy.deepcopy(common) | own | both
    if isinstance(own, list) and isinstance(common, list):
        known = [_same(one, field) for one in own]
        return [*own, *(copy.deepcopy(one) for one in common if _same(one, field) not in known)]
    return own


def _same(entry: Any, field: str) -> Any:
    return entry[_KEYS[field]] if field in _KEYS else entry


def _move(spec: Spec, common: Spec) -> None:
    """Have a volume of the pod that lies on its node's disk lie where the common one of its name
    does, a claim of the same size among them.
    """
    for volume in spec.get("volumes", []):
        if volume["name"] == common["name"] and "emptyDir" in volume:
            size = volume.pop("emptyDir").get("sizeLimit", "0")
            volume |= copy.deepcopy(common)
            if "ephemeral" in volume:
                claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
                claim |= _merged(claim, {"resources": {"requests": {"storage": size}}})
            _relieve(spec, volume["name"], _bytes(size))


def _relieve(spec: Spec, volume: str, size: int) -> None:
    """Have the containers that mount a volume ask their node for less disk."""
    for container in containers_of(spec):
        if any(mount["name"] == volume for mount in container.get("volumeMounts", [])):
            for amounts in container.get("resources", {}).values():
                asked = _bytes(amounts.get("ephemeral-storage", "0"))
                left = min(asked, max(asked - size, LEAST))
                amounts |= {"ephemeral-storage": f"{left >> 20}Mi"} if left < asked else {}


def _bytes(quantity: str) -> int:
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)(\w*)", str(quantity))
    if matched is None or matched[2] not in _UNITS:
        raise InputError(f"expected a size like 60Gi, found {quantity!r}")
    return int(float(matched[1]) * _UNITS[matched[2]])


def _drop_unused(spec: Spec) -> None:
    """A claim that no container mounts would be made all the same."""
    mounted = {
        mount["name"] for one in containers_of(spec) for mount in one.get("volumeMounts", [])
    }
    if "volumes" in spec:
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] in mounted]
