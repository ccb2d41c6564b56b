"""Sizes that must fit into each other: volumes into limits, requests into nodes and quotas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.rendered import (
    OVERLAYS,
    Manifest,
    all_pods,
    containers,
    one,
    overlay,
    templates,
    with_components,
)

UNITS = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}
INJECTED_MCPU = 200  # what KubeRay's init container of workers asks for


def number(quantity: str) -> float:
    """A quantity of Kubernetes as a number."""
    matched = re.fullmatch(r"(\d+)(|m|Mi|Gi)", quantity)
    assert matched, quantity
    return int(matched[1]) * UNITS[matched[2]]


def total(spec: dict[str, Any], kind: str, resource: str) -> float:
    """What the scheduler counts for a pod: its containers together, or its largest init
    container.
    """
    running = sum(number(c["resources"][kind][resource]) for c in spec["containers"])
    return max(
        [
            running,
            *(number(c["resources"][kind][resource]) for c in spec.get("initContainers") or []),
        ]
    )


def pods(name: str, folder: Path) -> dict[str, Manifest]:
    return dict(
        all_pods(overlay(name) if name in OVERLAYS else with_components(folder, "base", name))
    )


@pytest.mark.parametrize("name", [*OVERLAYS, "seaweedfs"])
def test_volumes_are_bounded_and_fit_into_the_limits_of_their_pod(
    name: str, tmp_path: Path
) -> None:
    for pod, template in pods(name, tmp_path).items():
        spec = template["spec"]
        empty = [volume["emptyDir"] for volume in spec.get("volumes") or [] if "emptyDir" in volume]
        disk = sum(
            number(volume["sizeLimit"]) for volume in empty if volume.get("medium") != "Memory"
        )
        memory = sum(
            number(volume["sizeLimit"]) for volume in empty if volume.get("medium") == "Memory"
        )
        assert disk < total(spec, "limits", "ephemeral-storage"), (
            pod
        )  # kubelet evicts a pod beyond it
        assert memory * 2 <= total(spec, "limits", "memory"), pod


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_volume_is_mounted_and_every_mount_has_its_volume(name: str) -> None:
    for pod, template in all_pods(overlay(name)):
        spec = template["spec"]
        mounted = {
            mount["name"]
            for container in containers(spec)
            for mount in container.get("volumeMounts") or []
        }
        claimed = {"data"} if pod == "StatefulSet store" else set()
        assert mounted == {volume["name"] for volume in spec.get("volumes") or []} | claimed, pod


@pytest.mark.parametrize("name", OVERLAYS)
def test_requests_are_not_above_limits(name: str) -> None:
    for pod, template in all_pods(overlay(name)):
        for container in containers(template["spec"]):
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert all(number(requests[key]) <= number(limits[key]) for key in requests), pod


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_object_store_of_ray_fits_into_its_shared_memory(name: str) -> None:
    for stage in ("generate", "simulate"):
        cluster = templates(overlay(name))[stage]["spec"]["rayClusterSpec"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            (shared,) = (
                v["emptyDir"]["sizeLimit"]
                for v in group["template"]["spec"]["volumes"]
                if v["name"] == "shm"
            )
            assert int(group["rayStartParams"]["object-store-memory"]) < number(shared)


def test_four_workers_and_two_trainings_fit_onto_kind_beside_the_store() -> None:
    def ask(pod: str, resource: str) -> float:
        return total(dict(all_pods(overlay("kind")))[pod]["spec"], "requests", resource)

    count = {
        "StatefulSet store": 1,
        "Job bucket": 1,
        "RayJob generate head": 1,
        "RayJob generate submitter": 1,
    }
    count |= {"RayJob generate workers": 4, "Job train": 2}
    quota = one(overlay("kind"), "ResourceQuota", "studies")["spec"]["hard"]
    cpu = sum(ask(pod, "cpu") * times for pod, times in count.items())
    assert cpu < 2 * (
        2 - 0.4
    )  # two nodes of two CPUs, of which the system's own pods have asked for up to 0.4
    assert (
        ask("RayJob generate workers", "cpu") * 1000 >= INJECTED_MCPU
    )  # less would be a false promise
    assert sum(ask(pod, "memory") * times for pod, times in count.items()) < number(
        quota["requests.memory"]
    )
    assert cpu < number(quota["requests.cpu"])


def test_a_training_that_is_told_to_stop_has_time_for_a_checkpoint() -> None:
    seconds = {
        name: templates(overlay(name))["train"]["spec"]["template"]["spec"][
            "terminationGracePeriodSeconds"
        ]
        for name in OVERLAYS
    }
    assert seconds["kind"] >= 120
    assert seconds["gpu"] >= 600
