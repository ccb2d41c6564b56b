"""Both overlays and all components render, follow their schemas and hold what the rest of the
project relies on.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from cbt_ray.gpu import ASKED
from tests.k8s.rendered import (
    K8S,
    OVERLAYS,
    PROVIDERS,
    ROLE,
    ROOT,
    TEMPLATE,
    Manifest,
    all_pods,
    containers,
    labels,
    one,
    overlay,
    pod_templates,
    render,
    server,
    strings,
    templates,
    with_components,
)
from tests.k8s.schema import check_core, check_custom, twice

pytestmark = pytest.mark.slow

STAGES = {
    "generate": "RayJob",
    "simulate": "RayJob",
    "train": "Job",
    "export": "Job",
    "evaluate": "Job",
    "fetch": "Job",
}
COMPONENTS = {"seaweedfs": "base", "kueue": "overlays/gpu"}


@pytest.fixture(scope="module", params=[*OVERLAYS, *COMPONENTS])
def manifests(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Manifest]:
    """Not to be changed."""
    if request.param in OVERLAYS:
        return overlay(request.param)
    folder = tmp_path_factory.mktemp("own")
    return with_components(folder, COMPONENTS[request.param], request.param)


def test_core_objects_follow_the_schemas_of_kubernetes_1_34(manifests: list[Manifest]) -> None:
    core = [m for m in manifests if m["kind"] != "RayJob"]
    assert {
        "Namespace",
        "NetworkPolicy",
        "Job",
        "ServiceAccount",
        "ResourceQuota",
        "LimitRange",
    } <= {m["kind"] for m in core}
    for manifest in core:
        check_core(manifest)


def test_pods_within_ray_jobs_follow_the_core_schema_too(manifests: list[Manifest]) -> None:
    for name, template in all_pods([m for m in manifests if m["kind"] == "RayJob"]):
        check_core(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name.lower().replace(" ", "-")},
                "spec": template["spec"],
            }
        )


def test_ray_jobs_follow_their_crd(manifests: list[Manifest]) -> None:
    jobs = [m for m in manifests if m["kind"] == "RayJob"]
    assert len(jobs) == 2
    for job in jobs:
        check_custom(job)


def test_the_check_refuses_unknown_fields_and_wrong_types() -> None:
    job = copy.deepcopy(templates(overlay("kind"))["train"])
    job["spec"]["backofLimit"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        check_core(job)
    ray = copy.deepcopy(templates(overlay("kind"))["generate"])
    ray["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0][
        "imagePolicy"
    ] = "Always"
    with pytest.raises(jsonschema.ValidationError, match="imagePolicy"):
        check_custom(ray)
    ray = copy.deepcopy(templates(overlay("kind"))["generate"])
    ray["spec"]["backoffLimit"] = "three"
    with pytest.raises(jsonschema.ValidationError, match="three"):
        check_custom(ray)


@pytest.mark.parametrize("name", OVERLAYS)
def test_there_is_one_template_for_each_stage_and_submit_finds_in_it_what_it_fills_in(
    name: str,
) -> None:
    found = templates(overlay(name))
    assert {stage: m["kind"] for stage, m in found.items()} == STAGES
    for stage, manifest in found.items():
        pods = dict(pod_templates(manifest))
        for pod in pods.values():
            assert all(
                re.fullmatch(r"cbt-ray-(cpu|train):unset", c["image"])
                for c in containers(pod["spec"])
            )
        working = [pod for pod in pods.values() if pod["metadata"]["labels"][ROLE] != "submitter"]
        for pod in working:
            (container,) = pod["spec"]["containers"]
            assert container["name"] in ("job", "ray-head", "ray-worker")
            assert {"name": "study", "configMap": {"name": "unset"}} in pod["spec"]["volumes"]
            assert {"name": "study", "mountPath": "/study", "readOnly": True} in container[
                "volumeMounts"
            ]
        if manifest["kind"] == "RayJob":
            assert (
                manifest["spec"]["entrypoint"] == f"python /app/jobs/{stage}.py /study/study.yaml"
            )
        else:
            assert (container["command"], container["args"]) == (
                ["python", f"/app/jobs/{stage}.py"],
                ["/study/study.yaml"],
            )
        train_image = {c["image"] for pod in pods.values() for c in containers(pod["spec"])}
        kind = "train" if stage in ("train", "export") else "cpu"
        assert train_image == {f"cbt-ray-{kind}:unset"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_platform_is_what_carries_no_template_label(name: str) -> None:
    platform = {m["kind"] for m in overlay(name) if TEMPLATE not in labels(m)}
    assert "RayJob" not in platform
    assert {
        m["metadata"]["name"]
        for m in overlay(name)
        if m["kind"] == "Job" and TEMPLATE not in labels(m)
    } <= {"bucket"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_overlay_says_where_its_store_is(name: str) -> None:
    settings = one(overlay(name), "ConfigMap", "cluster")["data"]
    assert set(settings) == {"store", "store_outside"}
    assert all(url.startswith("s3://") for url in settings.values())


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_is_in_the_namespace_and_the_namespace_is_restricted(name: str) -> None:
    for manifest in overlay(name):
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "cbt-ray", (
            manifest["metadata"]
        )
    own = labels(one(overlay(name), "Namespace", "cbt-ray"))
    assert {own[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {
        "restricted"
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_jobs_are_never_tried_again_after_the_codes_that_no_attempt_can_change(name: str) -> None:
    for stage in ("train", "export", "evaluate", "fetch"):
        spec = templates(overlay(name))[stage]["spec"]
        ignore, fail = spec["podFailurePolicy"]["rules"]
        assert ignore == {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        }
        assert fail == {
            "action": "FailJob",
            "onExitCodes": {"containerName": "job", "operator": "In", "values": [2, 3]},
        }
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert (
            min(
                spec[field]
                for field in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
            )
            > 0
        )


@pytest.mark.parametrize("name", OVERLAYS)
def test_ray_is_the_version_of_the_lock(name: str) -> None:
    (locked,) = re.findall(
        r"^ray==(\S+) \\$", (ROOT / "requirements/base.txt").read_text(), re.MULTILINE
    )
    for stage in ("generate", "simulate"):
        assert templates(overlay(name))[stage]["spec"]["rayClusterSpec"]["rayVersion"] == locked


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_head_of_ray_runs_no_units_and_clusters_ask_for_a_token(name: str) -> None:
    for stage in ("generate", "simulate"):
        cluster = templates(overlay(name))[stage]["spec"]["rayClusterSpec"]
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert cluster["authOptions"] == {"mode": "token"}


def test_no_secret_is_rendered_and_those_that_exist_are_read_by_reference(
    manifests: list[Manifest],
) -> None:
    assert "Secret" not in {m["kind"] for m in manifests}
    for text in strings(manifests):
        for user_and_password in re.findall(r"://([^/\s@]+)@", text):
            assert re.fullmatch(r"\$\(\w+\):\$\(\w+\)", user_and_password)
    read: dict[str, set[str]] = {}
    for _, pod in all_pods(manifests):
        for container in containers(pod["spec"]):
            names = [variable["name"] for variable in container.get("env") or []]
            assert len(names) == len(set(names))
            assert not container.get("envFrom")
            for variable in container.get("env") or []:
                if re.search(r"KEY|TOKEN|SECRET|PASSWORD|ROOT_USER", variable["name"]):
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert "value" not in variable
                    read.setdefault(reference["name"], set()).add(pod["metadata"]["labels"][ROLE])
    assert read["hub"] == {"fetch"}
    assert read["store"] <= {
        "head",
        "worker",
        "train",
        "export",
        "evaluate",
        "fetch",
        "store",
        "bucket",
        "llm",
    }
    assert set(read) == {"hub", "store"}


def test_secrets_of_the_store_do_not_reach_the_submitter() -> None:
    submitter = templates(overlay("kind"))["generate"]["spec"]["submitterPodTemplate"]["spec"]
    assert not [text for text in strings(submitter) if text.startswith("AWS_")]


def test_seaweedfs_is_the_same_service_as_minio(tmp_path: Path) -> None:
    both = []
    for component in ("minio", "seaweedfs"):
        (tmp_path / component).mkdir()
        both.append(with_components(tmp_path / component, "base", component))
    minio, seaweedfs = (one(manifests, "Service", "store") for manifests in both)
    assert minio == seaweedfs
    assert "bucket=cbt-ray" in " ".join(strings(one(both[1], "StatefulSet", "store")))


def test_kueue_gets_the_jobs_and_their_servers_and_nothing_else(tmp_path: Path) -> None:
    queued = {
        m["metadata"]["name"]
        for m in with_components(tmp_path, "overlays/kind", "kueue")
        if "kueue.x-k8s.io/queue-name" in labels(m)
    }
    assert queued == {*STAGES, "vllm"}


def test_only_the_gpu_overlay_asks_for_gpus_to_train_and_to_serve() -> None:
    def asking(name: str) -> set[str]:
        return {
            pod
            for pod, template in all_pods(overlay(name))
            if "nvidia.com/gpu" in str(template["spec"]["containers"])
        }

    assert asking("kind") == set()
    assert asking("gpu") == {"Job train", "Deployment vllm"}
    for manifest in (templates(overlay("gpu"))["train"], server(overlay("gpu"))["Deployment"]):
        spec = manifest["spec"]["template"]["spec"]
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "nvidia.com/gpu" in [one["key"] for one in spec["tolerations"]]


@pytest.mark.parametrize("name", [*OVERLAYS, *PROVIDERS])
def test_a_pod_says_that_it_holds_a_gpu_if_it_does(name: str) -> None:
    found = overlay(name)
    for pod in (templates(found)["train"], server(found)["Deployment"]):
        (container,) = pod["spec"]["template"]["spec"]["containers"]
        holds = "nvidia.com/gpu" in container["resources"]["limits"]
        assert ({"name": ASKED, "value": "1"} in container["env"]) == holds


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_server_of_models_is_ready_when_its_file_is_there(name: str) -> None:
    found = server(overlay(name))
    assert set(found) == {"Deployment", "Service", "NetworkPolicy"}
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["cbt-ray", "serve"]
    asked = container["args"]
    (file,) = [asked[n + 1] for n, word in enumerate(asked) if word == "--ready"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"] == ["test", "-e", file]
    assert file.startswith("/tmp/")  # noqa: S108  a volume: the root file system is read-only
    (port,) = found["Service"]["spec"]["ports"]
    assert asked[asked.index("--port") + 1] == str(port["port"])
    assert port["targetPort"] == container["ports"][0]["name"]


def test_kind_maps_the_port_of_the_store_and_names_its_node() -> None:
    nodes: list[dict[str, Any]] = yaml.safe_load((K8S / "kind.yaml").read_text())["nodes"]
    assert [node["role"] for node in nodes] == ["control-plane", "worker", "worker"]
    (mapping,) = nodes[0]["extraPortMappings"]
    (port,) = one(overlay("kind"), "Service", "store")["spec"]["ports"]
    assert (mapping["containerPort"], port["port"], mapping["listenAddress"]) == (
        port["nodePort"],
        9000,
        "127.0.0.1",
    )
    assert (
        f"http://127.0.0.1:{mapping['hostPort']}"
        in one(overlay("kind"), "ConfigMap", "cluster")["data"]["store_outside"]
    )
    selector = one(overlay("kind"), "StatefulSet", "store")["spec"]["template"]["spec"][
        "nodeSelector"
    ]
    assert [selector.items() <= node.get("labels", {}).items() for node in nodes] == [
        False,
        True,
        False,
    ]


def test_every_file_opens_with_what_it_is() -> None:
    files = sorted(K8S.rglob("*.yaml"))
    assert len(files) > 20
    assert [file for file in files if not file.read_text().startswith("# ")] == []


def test_base_renders_alone() -> None:
    assert set(templates(render(K8S / "base"))) == set(STAGES)


def test_a_variable_that_is_given_twice_is_found() -> None:
    env = {"type": "array", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object"}}
    found = list(
        twice({"properties": {"env": env}}, {"env": [{"name": "A"}, {"name": "B"}, {"name": "A"}]})
    )
    assert found == [".env: ('A',)"]
