"""What every pod of ours must hold to, as a pure function of its spec.

The spec may be a rendered template's or a live pod's, with all that was injected into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]
RESOURCES = ("cpu", "memory", "ephemeral-storage")
SECCOMP = ("RuntimeDefault", "Localhost")


def complaints(spec: Spec, *, may_hold_token: bool = False) -> list[str]:
    """Each breach of the policy, on one line.

    `may_hold_token` is for the head of a cluster that scales itself.
    """
    found = list(_of_pod(spec, may_hold_token))
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or []:
            found += [
                f"{container['name']}: {text}"
                for text in _of_container(container, spec.get("securityContext") or {}, kind)
            ]
    return found


def _of_pod(spec: Spec, may_hold_token: bool) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is set"
    if spec.get("automountServiceAccountToken") is not False and not may_hold_token:
        yield "automountServiceAccountToken is not false"
    for volume in spec.get("volumes") or []:
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a hostPath"
        sources = (volume.get("projected") or {}).get("sources") or []
        if any(_is_token(source) for source in sources) and not may_hold_token:
            yield f"volume {volume['name']} holds a token"


def _is_token(source: Spec) -> bool:
    """Whether it opens the API server, as one that names no other audience does."""
    return "serviceAccountToken" in source and not source["serviceAccountToken"].get("audience")


def _of_container(container: Spec, pod: Spec, kind: str) -> Iterator[str]:
    own = container.get("securityContext") or {}
    yield from _of_image(container.get("image") or "")
    yield from _of_resources(container.get("resources") or {})
    yield from _of_user(own, pod)
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "capabilities: ALL is not dropped"
    if capabilities.get("add"):
        yield f"capabilities: adds {capabilities['add']}"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield "hostPort is set"
    if container.get("ports") and (
        kind == "containers" or container.get("restartPolicy") == "Always"
    ):
        yield from (
            f"has ports and no {probe}"
            for probe in ("livenessProbe", "readinessProbe")
            if not container.get(probe)
        )


def _of_image(image: str) -> Iterator[str]:
    if "@sha256:" in image:
        return
    _, colon, tag = image.rsplit("/", 1)[-1].partition(":")
    if not colon or not tag:
        yield f"image {image} has no tag"
    elif tag == "latest":
        yield f"image {image} has the tag latest"


def _of_resources(resources: Spec) -> Iterator[str]:
    for kind in ("requests", "limits"):
        missing = [name for name in RESOURCES if name not in (resources.get(kind) or {})]
        if missing:
            yield f"no {kind} of {', '.join(missing)}"


def _of_user(own: Spec, pod: Spec) -> Iterator[str]:
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if own.get("runAsUser", pod.get("runAsUser")) == 0:
        yield "runs as user 0"
    if (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in SECCOMP:
        yield "no seccompProfile"
