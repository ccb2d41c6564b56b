"""What is wrong with pods, in one line: messages as Kubernetes 1.34 writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cbt_ray.cluster.trouble import OWED, USER, killed, state_of, troubles

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NO_GPU = (
    "0/3 nodes are available: 1 node(s) had untolerated taint "
    "{node-role.kubernetes.io/control-plane: }, 2 Insufficient "
    "nvidia.com/gpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 "
    "Preemption is not helpful for "
    "scheduling."
)


def pod(
    name: str = "demo-train", role: str = "train", phase: str = "Pending", **status: Any
) -> dict[str, Any]:
    container = {
        "name": "job",
        "image": "cbt-ray-cpu:1",
        "resources": {"limits": {"memory": "2Gi"}},
    }
    metadata = {"name": name, "labels": {"cbt-ray/role": role}}
    return {
        "metadata": metadata,
        "spec": {"containers": [container]},
        "status": {"phase": phase, **status},
    }


def unschedulable(message: str, **about: Any) -> dict[str, Any]:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    return pod(conditions=[condition], **about)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(containerStatuses=[{"name": "job", "image": "cbt-ray-cpu:1", "state": state}])


def test_the_missing_resource_is_named_with_its_nodes() -> None:
    (found,) = troubles([unschedulable(NO_GPU)], [], NOW)
    assert str(found) == (
        "demo-train: cannot be scheduled: nvidia.com/gpu is missing on 2 of 3 nodes; "
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"
    )
    assert (found.code, found.lasting) == (OWED, None)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "0/3 nodes are available: 3 Insufficient cpu, 1 Insufficient memory.",
            "cpu is missing on 3 of 3 nodes; memory is missing on 1 of 3 nodes",
        ),
        (
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
            "2 node(s) didn't match Pod's node affinity/selector",
        ),
        ("something new", "something new"),
    ],
)
def test_other_messages_of_the_scheduler(message: str, expected: str) -> None:
    (found,) = troubles([unschedulable(message)], [], NOW)
    assert found.text == f"cannot be scheduled: {expected}"


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_is_not_found_needs_the_user(reason: str) -> None:
    (found,) = troubles([waiting(reason)], [], NOW)
    assert (found.text, found.code) == ("image not found: cbt-ray-cpu:1", USER)


def test_a_missing_secret_needs_the_user() -> None:
    (found,) = troubles(
        [waiting("CreateContainerConfigError", 'secret "store" not found')], [], NOW
    )
    assert (found.text, found.code) == ('job cannot be created: secret "store" not found', USER)


def test_a_worker_without_room_is_no_trouble_as_long_as_another_one_runs() -> None:
    lonely = unschedulable(NO_GPU, name="w2", role="worker")
    assert troubles([lonely, pod("w1", "worker", "Running")], [], NOW) == []
    assert len(troubles([lonely, pod("h", "head", "Running")], [], NOW)) == 1


def test_pods_over_the_quota_are_told_from_the_events() -> None:
    event = {
        "type": "Warning",
        "reason": "FailedCreate",
        "involvedObject": {"name": "demo-train"},
        "message": "exceeded quota: jobs",
        "lastTimestamp": "2026-11-21T11:59:30Z",
    }
    (found,) = troubles([], [event], NOW)
    assert (str(found), found.code) == (
        "demo-train: its pods are refused: exceeded quota: jobs",
        USER,
    )
    assert troubles([], [{**event, "reason": "BackOff"}], NOW) == []
    assert troubles([], [{**event, "lastTimestamp": "2026-11-21T11:00:00Z"}], NOW) == [], (
        "it is told of the past"
    )
    assert troubles([pod("w1", "worker", "Running")], [event], NOW) == [], "the others work"


def test_out_of_memory_names_the_limit() -> None:
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    (found,) = killed([pod(containerStatuses=[{"name": "job", "lastState": ended, "state": {}}])])
    assert str(found) == "demo-train: job ran out of memory (limit 2Gi)"
    assert (
        killed([pod(containerStatuses=[{"name": "job", "state": {"terminated": {"exitCode": 2}}}])])
        == []
    )


def test_states_in_a_word() -> None:
    assert state_of(pod(phase="Running")) == "Running"
    assert (
        state_of(waiting("ImagePullBackOff"))
        == state_of(waiting("ErrImagePull"))
        == "without its image"
    )
    assert state_of(waiting("ContainerCreating")) == "Pending"


def test_a_container_that_keeps_ending_is_told_with_its_code() -> None:
    status = {
        "name": "job",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 132}},
    }
    (found,) = troubles([pod(containerStatuses=[status])], [], NOW)
    assert (found.text, found.code) == ("job keeps ending with 132", OWED)


def test_a_server_that_ends_again_and_again_says_why() -> None:
    """What it said last; the user is needed where it says so."""
    said = "served: comparing\ncbt-ray: greedy tokens differ\n"
    for code, expected in ((2, USER), (1, OWED)):
        ended = {"terminated": {"exitCode": code, "message": said}}
        state = {"waiting": {"reason": "CrashLoopBackOff"}}
        status = {"name": "job", "image": "cbt-ray-vllm:1", "state": state, "lastState": ended}
        (found,) = troubles([pod(containerStatuses=[status])], [], NOW)
        text = f"demo-train: job keeps ending with {code}: cbt-ray: greedy tokens differ"
        assert (str(found), found.code) == (text, expected)


def test_a_server_is_loading_until_it_is_ready() -> None:
    ready = [{"type": "Ready", "status": "True"}]
    assert state_of(pod(role="llm", phase="Running")) == "loading"
    assert state_of(pod(role="llm", phase="Running", conditions=ready)) == "Running"
    assert state_of(pod(role="head", phase="Running")) == "Running"
