"""What pods have in common, laid under the pods of any object."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cbt_ray.cluster.pod import completed, containers_of, pod_templates
from cbt_ray.errors import InputError

Document = dict[str, Any]


def common(which: str = "every", **spec: Any) -> Document:
    return {
        "kind": "PodTemplate",
        "metadata": {"name": f"{which}-pod", "labels": {"cbt-ray/pods": which}},
        "template": {
            "metadata": {"annotations": {"a": which}},
            "spec": {"containers": [{"name": "every"}], **spec},
        },
    }


def every(**container: Any) -> list[Document]:
    return [{"name": "every", **container}]


def pod(**spec: Any) -> Document:
    resources = {
        "requests": {"cpu": "1", "ephemeral-storage": "60Gi"},
        "limits": {"cpu": "1", "ephemeral-storage": "160Gi"},
    }
    mounts = [{"name": "cache", "mountPath": "/cache"}]
    container = {"name": "job", "image": "i:1", "resources": resources, "volumeMounts": mounts}
    volumes = [{"name": "cache", "emptyDir": {"sizeLimit": "120Gi"}}]
    own = {"containers": [container], "volumes": volumes} | spec
    return {"metadata": {"labels": {"cbt-ray/role": "train"}}, "spec": own}


def job(template: Document, kind: str = "Job", **labels: str) -> Document:
    labels = labels or {"cbt-ray/template": "true"}
    spec = {"template": template}
    nested = {"jobTemplate": {"spec": spec}} if kind == "CronJob" else spec
    return {"kind": kind, "metadata": {"name": "j", "labels": labels}, "spec": nested}


def only(*manifests: Document) -> Document:
    """The one pod among objects, completed."""
    (found,) = (one for m in completed(list(manifests)) for one in pod_templates(m))
    return found


def test_a_pod_gets_what_it_lacks_and_keeps_what_it_has() -> None:
    laid = common(priorityClassName="low", enableServiceLinks=False, nodeSelector={"a": "1"})
    found = only(job(pod(enableServiceLinks=True, nodeSelector={"b": "2"})), laid)
    assert found["metadata"] == {"labels": {"cbt-ray/role": "train"}, "annotations": {"a": "every"}}
    spec = found["spec"]
    assert (spec["priorityClassName"], spec["enableServiceLinks"]) == ("low", True)
    assert spec["nodeSelector"] == {"a": "1", "b": "2"}
    assert [one["name"] for one in spec["containers"]] == ["job"]


@pytest.mark.parametrize("kind", ["Job", "Deployment", "CronJob", "SomethingNew"])
def test_the_kind_of_object_does_not_matter(kind: str) -> None:
    assert only(job(pod(), kind), common(priorityClassName="low"))["spec"]["priorityClassName"]


def test_objects_that_submit_does_not_make_are_left_as_they_are() -> None:
    store = job(pod(), "StatefulSet", app="store")
    assert completed([store, common(priorityClassName="low")]) == [store]


def test_what_is_in_a_list_is_added_and_one_of_the_same_name_is_not() -> None:
    laid = common(
        tolerations=[{"key": "gpu"}, {"key": "spot"}],
        containers=every(env=[{"name": "A", "value": "theirs"}, {"name": "B", "value": "theirs"}]),
    )
    one = pod(tolerations=[{"key": "spot"}])
    one["spec"]["containers"][0]["env"] = [{"name": "A", "valueFrom": {}}]
    one["spec"]["initContainers"] = [{"name": "first", "image": "i:1"}]
    spec = only(job(one), laid)["spec"]
    assert spec["tolerations"] == [{"key": "spot"}, {"key": "gpu"}]
    first, main = containers_of(spec)
    assert main["env"] == [{"name": "A", "valueFrom": {}}, {"name": "B", "value": "theirs"}]
    assert [one["name"] for one in first["env"]] == ["A", "B"]


def test_only_pods_of_their_kind_get_what_is_laid_under_study_and_gpu_pods() -> None:
    studied = pod()
    studied["spec"]["volumes"].append({"name": "study", "configMap": {"name": "unset"}})
    studied["spec"]["containers"][0]["volumeMounts"].append({"name": "study", "mountPath": "/s"})
    gpu = pod()
    gpu["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] = "1"
    laid = [common("study", serviceAccountName="runner"), common("gpu", runtimeClassName="nvidia")]
    for one, expected in ((pod(), (None, None)), (studied, ("runner", None)), (gpu, (None, "n"))):
        spec = only(job(one), *laid)["spec"]
        found = (spec.get("serviceAccountName"), (spec.get("runtimeClassName") or "")[:1] or None)
        assert found == expected


CLAIM = {
    "name": "cache",
    "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}},
}


def test_a_claim_takes_the_size_of_the_volume_and_the_node_is_asked_for_less() -> None:
    spec = only(job(pod()), common(volumes=[CLAIM]))["spec"]
    (volume,) = spec["volumes"]
    assert "emptyDir" not in volume
    claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["resources"] == {"requests": {"storage": "120Gi"}}
    resources = spec["containers"][0]["resources"]
    assert resources["requests"]["ephemeral-storage"] == "1024Mi"
    assert resources["limits"]["ephemeral-storage"] == f"{40 * 1024}Mi"
    assert resources["requests"]["cpu"] == "1"


def test_a_claim_of_a_size_of_its_own_keeps_it_and_small_requests_stay() -> None:
    claim = copy.deepcopy(CLAIM)
    claim["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"] = {  # type: ignore[index]
        "requests": {"storage": "300Gi"}
    }
    one = pod()
    one["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] = "256Mi"
    spec = only(job(one), common(volumes=[claim]))["spec"]
    wanted = spec["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]
    assert wanted == {"requests": {"storage": "300Gi"}}
    assert spec["containers"][0]["resources"]["requests"]["ephemeral-storage"] == "256Mi"


def test_a_claim_that_nothing_mounts_is_not_made() -> None:
    other = pod(volumes=[], containers=[{"name": "job", "image": "i:1"}])
    assert only(job(other), common(volumes=[CLAIM]))["spec"]["volumes"] == []


def test_what_is_laid_under_two_pods_is_not_shared_between_them() -> None:
    first, second = completed([job(pod()), job(pod()), common(volumes=[CLAIM])])
    one, two = (next(pod_templates(m))["spec"]["volumes"][0] for m in (first, second))
    assert one == two
    assert one["ephemeral"] is not two["ephemeral"]


@pytest.mark.parametrize("size", ["much", "12Zi"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    one = pod(volumes=[{"name": "cache", "emptyDir": {"sizeLimit": size}}])
    with pytest.raises(InputError, match=f"expected a size like 60Gi, found '{size}'"):
        completed([job(one), common(volumes=[CLAIM])])


def test_an_unknown_kind_of_pods_is_refused() -> None:
    with pytest.raises(InputError, match=r"PodTemplate big-pod: .* expected one of .*'big'"):
        completed([job(pod()), common("big")])
