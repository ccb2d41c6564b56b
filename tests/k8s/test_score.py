"""Everything that `submit` prints, with what it is printed for: valid, and without a critical
finding of kube-score.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.cluster.pod import TEMPLATE, Manifest, pod_templates
from tests.cluster.printed import everything
from tests.k8s.rendered import (
    OVERLAYS,
    PROVIDERS,
    all_pods,
    containers,
    labels,
    overlay,
    render,
    with_components,
)
from tests.k8s.schema import check_core, check_custom
from tests.k8s.score import CRITICAL, criticals

pytestmark = pytest.mark.slow

OWN = "own"
COMPONENTS = ("kueue", "undisturbed", "claims", "priority", "web-identity")
LOADED = ("container-image-pull-policy",)
"""Let be on kind, whose nodes have the images from this machine and no registry to ask."""


@pytest.fixture(scope="module", params=[*OVERLAYS, *PROVIDERS, OWN])
def objects(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Manifest]]:
    """The overlay's name; its platform and all that is printed for it. Not to be changed."""
    name, folder = request.param, tmp_path_factory.mktemp("printed")
    if name == OWN:  # an overlay with all components that go together
        (folder / OWN).mkdir()
        known = with_components(folder / OWN, "overlays/gpu", *COMPONENTS)
        return name, [*_platform(known), *everything(folder, str(folder / OWN))]
    return name, [*_platform(overlay(name)), *everything(folder, name)]


def _platform(manifests: list[Manifest]) -> list[Manifest]:
    return [m for m in manifests if TEMPLATE not in labels(m)]


def test_there_is_no_critical_finding(objects: tuple[str, list[Manifest]]) -> None:
    name, found = objects
    assert len([one for one in found if one["kind"] in ("Job", "RayJob", "Deployment")]) >= 7
    left = [one for one in criticals(found) if name != "kind" or not one.startswith(LOADED)]
    assert left == []


def test_all_of_it_follows_its_schema(objects: tuple[str, list[Manifest]]) -> None:
    for one in objects[1]:
        if one["kind"] != "RayJob":
            check_core(one)
        for pod in pod_templates(one):
            meta = {"name": "pod", **pod["metadata"]}
            check_core({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod["spec"]})


def test_ray_jobs_follow_their_crd(objects: tuple[str, list[Manifest]]) -> None:
    for one in objects[1]:
        if one["kind"] == "RayJob":
            check_custom(one)


def test_a_store_of_another_kind_has_no_critical_finding(tmp_path: Path) -> None:
    found = criticals(with_components(tmp_path, "base", "seaweedfs"))
    # What only `submit` makes: the head that scales its cluster.
    assert found == ["networkpolicy-targets-pod: NetworkPolicy api-server"]


Change = Callable[[dict[str, Manifest]], Any]


def _first(change: Callable[[Manifest], Any]) -> Change:
    """A change of the first container of the training."""
    return lambda by: change(by["Job"]["spec"]["template"]["spec"]["containers"][0])


def _budget(**spec: Any) -> Manifest:
    return {"kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec}


def _put(by: dict[str, Manifest], one: Manifest) -> None:
    by[one["kind"]] = one


BREACHES: dict[str, Change] = {
    "container-resources": _first(lambda c: c["resources"]["limits"].pop("memory")),
    "container-ephemeral-storage-request-and-limit": _first(
        lambda c: c["resources"]["requests"].pop("ephemeral-storage")
    ),
    "container-image-tag": _first(lambda c: c.update(image="host:5000/cbt-ray-cpu")),
    "container-image-pull-policy": _first(lambda c: c.pop("imagePullPolicy")),
    "environment-variable-key-duplication": _first(lambda c: c["env"].append(c["env"][0])),
    "container-security-context-user-group-id": _first(
        lambda c: c["securityContext"].update(runAsUser=1000)
    ),
    "container-security-context-privileged": _first(
        lambda c: c["securityContext"].update(privileged=True)
    ),
    "container-security-context-readonlyrootfilesystem": _first(
        lambda c: c["securityContext"].pop("readOnlyRootFilesystem")
    ),
    "deployment-has-poddisruptionbudget": lambda by: by["Deployment"]["spec"].update(replicas=2),
    "poddisruptionbudget-has-policy": lambda by: _put(by, _budget(selector={})),
    "pod-networkpolicy": lambda by: by["NetworkPolicy"]["spec"].update(policyTypes=["Ingress"]),
    "networkpolicy-targets-pod": lambda by: by.update(
        other={
            "kind": "NetworkPolicy",
            "metadata": {"name": "other"},
            "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress"]},
        }
    ),
    "service-targets-pod": lambda by: by["Service"]["spec"]["selector"].update(a="b"),
    "pod-probes": lambda by: by["Deployment"]["spec"]["template"]["spec"]["containers"][0].pop(
        "readinessProbe"
    ),
    "pod-probes-identical": lambda by: (
        c := by["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    ).update(livenessProbe=c["readinessProbe"]),
    "statefulset-has-servicename": lambda by: _put(by, by["Deployment"] | {"kind": "StatefulSet"}),
    "deployment-pod-selector-labels-match-template-metadata-labels": lambda by: by["Deployment"][
        "spec"
    ]["selector"]["matchLabels"].update(a="b"),
    "statefulset-pod-selector-labels-match-template-metadata-labels": lambda by: _put(
        by,
        by["Deployment"]
        | {"kind": "StatefulSet"}
        | {"spec": by["Deployment"]["spec"] | {"selector": {"matchLabels": {"a": "b"}}}},
    ),
    "label-values": lambda by: by["Job"]["metadata"]["labels"].update(a="b/c"),
    "pod-topology-spread-constraints": lambda by: by["RayJob"]["spec"]["rayClusterSpec"][
        "workerGroupSpecs"
    ][0]["template"]["spec"]["topologySpreadConstraints"][0].pop("labelSelector"),
}


def good() -> dict[str, Manifest]:
    """One object of each kind, with nothing to find."""
    known = copy.deepcopy(overlay("gpu"))
    found = {one["kind"]: one for one in known if one["kind"] in ("RayJob", "Deployment")}
    (train,) = (one for one in known if one["metadata"]["name"] == "train")
    (service,) = (one for one in known if one["kind"] == "Service")
    (deny,) = (one for one in known if one["metadata"]["name"] == "deny")
    return found | {"Job": train, "Service": service, "NetworkPolicy": deny}


def test_every_check_is_broken_once() -> None:
    assert set(BREACHES) == set(CRITICAL)
    assert criticals(list(good().values())) == []


@pytest.mark.parametrize("check", BREACHES)
def test_a_breach_is_found(check: str) -> None:
    by = good()
    BREACHES[check](by)
    checks = {one.partition(":")[0] for one in criticals(list(by.values()))}
    with_it = {"statefulset-has-servicename"} if check.startswith("statefulset-pod") else set()
    assert checks == {check, *with_it}


def test_every_container_is_looked_at() -> None:
    """The checks go by pods wherever they are: none of an overlay's is missed."""
    manifests = render(Path(__file__).parents[2] / "k8s" / "base")
    known = [c for _, pod in all_pods(manifests) for c in containers(pod["spec"])]
    for container in known:
        container["image"] = "untagged"
    assert len(known) >= 10
    found = [one for one in criticals(manifests) if one.startswith("container-image-tag")]
    assert len(found) == len(known)
