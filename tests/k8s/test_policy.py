"""Every pod holds to the policy, and each rule of the policy is broken once to show that it sees
the breach.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.policy import complaints
from tests.k8s.rendered import OVERLAYS, PROVIDERS, all_pods, overlay, with_components

Spec = dict[str, Any]
SIZES = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
GOOD: Spec = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "initContainers": [],
    "containers": [
        {
            "name": "c",
            "image": "registry.example.com:5000/thing:1.2",
            "ports": [{"containerPort": 80}],
            "livenessProbe": {"httpGet": {"port": 80}},
            "readinessProbe": {"httpGet": {"port": 80}},
            "resources": {"requests": SIZES, "limits": SIZES},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


@pytest.mark.parametrize("name", [*OVERLAYS, *PROVIDERS])
def test_every_pod_of_an_overlay_holds_to_the_policy(name: str) -> None:
    pods = dict(all_pods(overlay(name)))
    assert len(pods) >= 9
    assert {
        pod: found for pod, template in pods.items() if (found := complaints(template["spec"]))
    } == {}


def test_every_pod_of_a_component_holds_to_the_policy(tmp_path: Path) -> None:
    pods = dict(all_pods(with_components(tmp_path, "base", "seaweedfs")))
    assert {
        pod: found for pod, template in pods.items() if (found := complaints(template["spec"]))
    } == {}


def test_a_good_pod_has_no_complaint() -> None:
    assert complaints(GOOD) == []
    by_digest = _with(lambda spec, c: c.update(image="thing@sha256:" + "0" * 64))
    assert complaints(by_digest) == []


def _context(**fields: Any) -> Callable[[Spec, Spec], None]:
    return lambda spec, c: c["securityContext"].update(fields)


def _pod(**fields: Any) -> Callable[[Spec, Spec], None]:
    return lambda spec, c: spec.update(fields)


def _container(**fields: Any) -> Callable[[Spec, Spec], None]:
    return lambda spec, c: c.update(fields)


TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
BREACHES: dict[str, tuple[Callable[[Spec, Spec], None], str]] = {
    "limits": (
        lambda spec, c: c.update(resources={"requests": SIZES}),
        "c: no limits of cpu, memory, ephemeral-storage",
    ),
    "requests": (
        lambda spec, c: c.update(resources={"limits": SIZES, "requests": {"cpu": "1"}}),
        "c: no requests of memory, ephemeral-storage",
    ),
    "liveness": (_container(livenessProbe=None), "c: has ports and no livenessProbe"),
    "readiness": (_container(readinessProbe=None), "c: has ports and no readinessProbe"),
    "read-only root": (
        _context(readOnlyRootFilesystem=False),
        "c: readOnlyRootFilesystem is not true",
    ),
    "latest": (_container(image="thing:latest"), "c: image thing:latest has the tag latest"),
    "no tag": (
        _container(image="registry.example.com:5000/thing"),
        "c: image registry.example.com:5000/thing has no tag",
    ),
    "privileged": (_context(privileged=True), "c: privileged"),
    "escalation": (
        _context(allowPrivilegeEscalation=None),
        "c: allowPrivilegeEscalation is not false",
    ),
    "capabilities": (
        _context(capabilities={"drop": ["NET_RAW"]}),
        "c: capabilities: ALL is not dropped",
    ),
    "added": (
        _context(capabilities={"drop": ["ALL"], "add": ["SYS_PTRACE"]}),
        "c: capabilities: adds ['SYS_PTRACE']",
    ),
    "root": (_context(runAsUser=0), "c: runs as user 0"),
    "maybe root": (
        _pod(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
        "c: runAsNonRoot is not true",
    ),
    "overridden": (_context(runAsNonRoot=False), "c: runAsNonRoot is not true"),
    "seccomp": (_context(seccompProfile={"type": "Unconfined"}), "c: no seccompProfile"),
    "hostPath": (
        _pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
        "volume v is a hostPath",
    ),
    "hostNetwork": (_pod(hostNetwork=True), "hostNetwork is set"),
    "hostPID": (_pod(hostPID=True), "hostPID is set"),
    "hostIPC": (_pod(hostIPC=True), "hostIPC is set"),
    "hostPort": (_container(ports=[{"containerPort": 80, "hostPort": 80}]), "c: hostPort is set"),
    "token": (_pod(automountServiceAccountToken=None), "automountServiceAccountToken is not false"),
    "token by volume": (_pod(volumes=[TOKEN]), "volume t holds a token"),
}


def _with(change: Callable[[Spec, Spec], None]) -> Spec:
    spec = copy.deepcopy(GOOD)
    change(spec, spec["containers"][0])
    return spec


@pytest.mark.parametrize("rule", BREACHES)
def test_a_breach_is_seen(rule: str) -> None:
    change, expected = BREACHES[rule]
    assert complaints(_with(change)) == [expected]


def test_a_token_for_somebody_else_is_none_for_the_api_server() -> None:
    other = {"serviceAccountToken": {"path": "token", "audience": "sts.amazonaws.com"}}
    volume = {"name": "t", "projected": {"sources": [other]}}
    assert complaints(_with(_pod(volumes=[volume]))) == []


def test_init_containers_are_looked_at_too() -> None:
    injected = {
        "name": "wait",
        "image": "thing:1",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": SIZES},
    }
    found = complaints(_with(_pod(initContainers=[injected])))
    assert "wait: no requests of cpu, memory, ephemeral-storage" in found
    assert "wait: readOnlyRootFilesystem is not true" in found
    assert not [text for text in found if "Probe" in text]  # it ends before anything is served
    assert [
        text
        for text in complaints(_with(_pod(initContainers=[injected | {"restartPolicy": "Always"}])))
        if "Probe" in text
    ]


def test_the_head_that_scales_its_cluster_may_hold_a_token() -> None:
    assert (
        complaints(
            _with(_pod(automountServiceAccountToken=True, volumes=[TOKEN])), may_hold_token=True
        )
        == []
    )
