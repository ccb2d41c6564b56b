"""What a cluster needs reaches every pod that it concerns, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cbt_ray.gpu import ASKED
from tests.k8s.rendered import (
    K8S,
    OVERLAYS,
    PROVIDERS,
    ROLE,
    Manifest,
    all_pods,
    containers,
    labels,
    one,
    overlay,
    templates,
    with_components,
)
from tests.k8s.test_sizes import number

pytestmark = pytest.mark.slow

RUNNING = {"head", "worker", "train", "export", "evaluate", "fetch", "llm"}
"""The roles of all pods that run the project's code."""
EVERY = RUNNING | {"submitter"}
GPU = {"train", "llm"}


def specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pods that `submit` makes, by role."""
    return {
        pod["metadata"]["labels"][ROLE]: pod["spec"]
        for _, pod in all_pods(manifests)
        if pod["metadata"]["labels"][ROLE] in EVERY
    }


def having(manifests: list[Manifest], field: str) -> dict[str, object]:
    """What the pods that have it have in a field of their spec, by role."""
    return {role: spec[field] for role, spec in specs(manifests).items() if field in spec}


def environment(spec: Manifest) -> dict[str, Manifest]:
    (container,) = spec["containers"]
    return {variable["name"]: variable for variable in container.get("env") or []}


@pytest.mark.parametrize("name", [*OVERLAYS, *PROVIDERS])
def test_no_autoscaler_takes_the_node_of_a_pod_that_works(name: str) -> None:
    told = {
        pod["metadata"]["labels"][ROLE]: pod["metadata"].get("annotations")
        for _, pod in all_pods(overlay(name))
    }
    assert {role for role, found in told.items() if found} == EVERY
    for role in EVERY:
        assert told[role] == {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
        }


def test_a_pull_secret_and_a_runtime_class_are_one_patch_each() -> None:
    house = overlay("on-premises")
    assert having(house, "imagePullSecrets") == {role: [{"name": "registry"}] for role in EVERY}
    assert having(house, "runtimeClassName") == dict.fromkeys(GPU, "nvidia")


@pytest.mark.parametrize("name", [*OVERLAYS, *PROVIDERS])
def test_an_export_waits_for_no_gpu(name: str) -> None:
    """No resource, node, runtime class or taint of one, wherever trainings have them."""
    spec, plain = (specs(overlay(name))[role] for role in ("export", "fetch"))
    assert "nvidia.com/gpu" not in str(spec)
    assert ASKED not in environment(spec)
    for field in ("nodeSelector", "affinity", "runtimeClassName", "tolerations"):
        assert spec.get(field) == plain.get(field), field


def test_a_training_asks_for_less_than_its_export() -> None:
    for name in OVERLAYS:
        train, export = (
            specs(overlay(name))[role]["containers"][0]["resources"] for role in ("train", "export")
        )
        for kind in ("requests", "limits"):
            for resource in ("memory", "ephemeral-storage"):
                assert number(train[kind][resource]) <= number(export[kind][resource])
        assert number(train["limits"]["ephemeral-storage"]) < number(
            export["limits"]["ephemeral-storage"]
        )


def test_images_are_asked_for_anew_but_where_they_were_loaded() -> None:
    for name, expected in (("kind", "IfNotPresent"), *((p, "Always") for p in ("gpu", "eks"))):
        pods = [pod["spec"] for _, pod in all_pods(overlay(name))]
        assert {c.get("imagePullPolicy") for spec in pods for c in containers(spec)} == {expected}


def test_the_disk_of_every_pod_with_a_cache_is_claimed(tmp_path: Path) -> None:
    for name in OVERLAYS:
        (tmp_path / name).mkdir()
        before = specs(overlay(name))
        found = with_components(tmp_path / name, f"overlays/{name}", "claims")
        for role, spec in specs(found).items():
            volumes = {volume["name"]: volume for volume in spec["volumes"]}
            if role == "submitter":
                assert "cache" not in volumes
                continue
            (size,) = (
                v["emptyDir"]["sizeLimit"] for v in before[role]["volumes"] if v["name"] == "cache"
            )
            claim = volumes["cache"]["ephemeral"]["volumeClaimTemplate"]["spec"]
            assert claim["resources"]["requests"]["storage"] == size
            assert spec["securityContext"]["fsGroup"] == 10001
            assert spec["securityContext"]["runAsNonRoot"] is True
            disk = spec["containers"][0]["resources"]
            assert number(disk["requests"]["ephemeral-storage"]) <= 2**30, "any node has that"
            rest = sum(
                number(v["emptyDir"]["sizeLimit"])
                for v in spec["volumes"]
                if "emptyDir" in v and "medium" not in v["emptyDir"]
            )
            assert rest < number(disk["limits"]["ephemeral-storage"])


@pytest.mark.parametrize(("name", "storage"), [("eks", "gp3"), ("gke", "premium-rwo")])
def test_a_class_of_volumes_is_named_once(name: str, storage: str) -> None:
    found = specs(overlay(name))
    for role in RUNNING:
        (volume,) = (v for v in found[role]["volumes"] if v["name"] == "cache")
        claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
        assert claim["storageClassName"] == storage


def test_with_keys_every_pod_that_runs_the_code_has_them_and_no_other() -> None:
    found = specs(overlay("gpu"))
    assert {role for role in found if "AWS_ACCESS_KEY_ID" in environment(found[role])} == RUNNING


@pytest.mark.parametrize("name", ["eks", "gke"])
def test_with_an_identity_no_pod_needs_a_secret(name: str) -> None:
    for spec in specs(overlay(name)).values():
        assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(environment(spec))
        read = [one.get("valueFrom", {}) for one in environment(spec).values()]
        secrets = [one["secretKeyRef"] for one in read if "secretKeyRef" in one]
        assert all(secret["optional"] for secret in secrets), "a hub's token at most"


def test_a_token_for_the_role_is_mounted_where_the_store_is_called() -> None:
    found = specs(overlay("gke"))
    for role, spec in found.items():
        tokens = [v for v in spec["volumes"] if "projected" in v]
        assert len(tokens) == (role in RUNNING), role
        if not tokens:
            continue
        (source,) = tokens[0]["projected"]["sources"]
        assert source["serviceAccountToken"]["audience"] == "sts.amazonaws.com"
        (mount,) = (
            m for m in spec["containers"][0]["volumeMounts"] if m["name"] == tokens[0]["name"]
        )
        file = environment(spec)["AWS_WEB_IDENTITY_TOKEN_FILE"]["value"]
        assert file == f"{mount['mountPath']}/{source['serviceAccountToken']['path']}"
        assert environment(spec)["AWS_ROLE_ARN"]["valueFrom"]["configMapKeyRef"] == {
            "name": "cluster",
            "key": "role_arn",
        }
    assert one(overlay("gke"), "ConfigMap", "cluster")["data"]["role_arn"].startswith("arn:aws:")


def test_the_accounts_of_those_that_call_the_store_are_two_and_the_submitter_has_neither() -> None:
    """A role is given to accounts: who has one of them has the role."""
    assert having(overlay("eks"), "serviceAccountName") == dict.fromkeys(RUNNING, "runner")


def test_a_priority_is_that_of_all_pods_and_pushes_nobody_out() -> None:
    manifests = overlay("eks")
    (made,) = (m for m in manifests if m["kind"] == "PriorityClass")
    assert having(manifests, "priorityClassName") == dict.fromkeys(EVERY, made["metadata"]["name"])
    assert made["preemptionPolicy"] == "Never"
    assert made["value"] < 0, "behind whatever names no priority"


def test_what_costs_much_to_lose_is_not_evicted(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, "overlays/gpu", "undisturbed")
    budget = one(manifests, "PodDisruptionBudget", "undisturbed")["spec"]
    (rule,) = budget["selector"]["matchExpressions"]
    assert set(rule["values"]) == {"train", "export", "head"}
    quota = one(manifests, "ResourceQuota", "studies")["spec"]["hard"]
    assert budget["minAvailable"] > int(quota["pods"]), "so many never run"


@pytest.mark.parametrize("name", OVERLAYS)
def test_caches_lie_in_the_cache(name: str) -> None:
    for role, spec in specs(overlay(name)).items():
        known = environment(spec)
        mounts = {m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}
        assert ("/cache" in mounts) == ("XDG_CACHE_HOME" in known) == (role in RUNNING)
        if role in GPU and name == "gpu":
            assert known["CUDA_CACHE_PATH"]["value"].startswith("/cache")


def test_the_libraries_follow_the_variable(tmp_path: Path) -> None:
    """As they are installed: what they would keep is in /cache, not in the small home."""
    told = environment(specs(overlay("kind"))["evaluate"])["XDG_CACHE_HOME"]["value"]
    asked = (
        "import huggingface_hub.constants as hub, torch.hub; from cbt_ray.cache import *;"
        "print(hub.HF_HOME, torch.hub.get_dir(), cache_folder(), sep='\\n')"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(K8S.parent)}
    env |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": f"{tmp_path}{told}"}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=env, capture_output=True, text=True, check=True
    )
    folders = done.stdout.split()
    assert len(folders) == 3
    assert [one for one in folders if not one.startswith(f"{tmp_path}/cache/")] == []


def queues() -> dict[str, Manifest]:
    text = (K8S / "components/kueue/queues.yaml").read_text()
    return {f"{m['kind']}/{m['metadata']['name']}": m for m in yaml.safe_load_all(text)}


def test_the_queue_of_the_label_leads_to_quotas_of_all_that_pods_ask_for(tmp_path: Path) -> None:
    manifests, known = with_components(tmp_path, "overlays/gpu", "kueue"), queues()
    (name,) = {labels(m).get("kueue.x-k8s.io/queue-name") for m in templates(manifests).values()}
    local = known[f"LocalQueue/{name}"]
    assert local["metadata"]["namespace"] == "cbt-ray"
    groups = known[f"ClusterQueue/{local['spec']['clusterQueue']}"]["spec"]["resourceGroups"]
    covered = {resource for group in groups for resource in group["coveredResources"]}
    asked = {
        resource
        for _, pod in all_pods([m for m in manifests if "cbt-ray/template" in labels(m)])
        for container in containers(pod["spec"])
        for kind in ("requests", "limits")
        for resource in container["resources"][kind]
    }
    assert asked == covered
    for group in groups:
        for flavor in group["flavors"]:
            assert f"ResourceFlavor/{flavor['name']}" in known
            assert {entry["name"] for entry in flavor["resources"]} == set(
                group["coveredResources"]
            )


def test_the_queue_lets_in_what_the_quota_lets_run() -> None:
    """More would be refused after its admission, less would never run."""
    quota = one(overlay("gpu"), "ResourceQuota", "studies")["spec"]["hard"]
    queue = queues()["ClusterQueue/cbt-ray"]["spec"]["resourceGroups"]
    nominal = {
        entry["name"]: entry["nominalQuota"]
        for group in queue
        for flavor in group["flavors"]
        for entry in flavor["resources"]
    }
    for resource in ("cpu", "memory", "nvidia.com/gpu"):
        assert nominal[resource] == quota[f"requests.{resource}"]
