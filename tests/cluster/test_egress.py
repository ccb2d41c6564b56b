"""A store whose port no policy opens is refused before anything is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.cluster.egress import check_store
from cbt_ray.cluster.overlay import Overlay
from cbt_ray.errors import InputError


def policy(*ports: dict[str, Any], **selector: Any) -> dict[str, Any]:
    egress = [{"ports": list(ports)}] if ports else []
    spec = {"podSelector": selector, "policyTypes": ["Egress"], "egress": egress}
    return {"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec}


def overlay(*policies: dict[str, Any]) -> Overlay:
    labels = {"cbt-ray/role": "train", "cbt-ray/calls-store": "true"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": []}}
    other = {"metadata": {"labels": {"cbt-ray/role": "submitter"}}, "spec": {"containers": []}}
    job = {
        "kind": "Job",
        "metadata": {"name": "train", "labels": {"cbt-ray/template": "true"}},
        "spec": {"template": pod, "other": other},
    }
    return Overlay("own", [job, *policies])


MINE = {"matchLabels": {"cbt-ray/calls-store": "true"}}
URL = "s3://bucket/prefix"
HOUSE = f"{URL}?endpoint=https://s3.example.com:9443"


@pytest.mark.parametrize(
    ("store", "policies"),
    [
        (URL, [policy({"port": 443}, **MINE)]),
        (HOUSE, [policy({"port": 443}, **MINE), policy({"port": 9443}, **MINE)]),
        (HOUSE, [policy({"port": 9000, "endPort": 9999}, **MINE)]),
        (HOUSE, [policy({"protocol": "TCP"}, **MINE)]),  # every port
        (HOUSE, []),  # nothing holds a pod back
        (HOUSE, [policy(matchLabels={"cbt-ray/role": "submitter"})]),  # another pod
        (f"{URL}?endpoint=http://store", [policy({"port": 80}, **MINE)]),
        (
            URL,
            [
                policy(
                    {"port": 443},
                    matchExpressions=[
                        {"key": "cbt-ray/role", "operator": "In", "values": ["train"]},
                        {"key": "absent", "operator": "DoesNotExist"},
                    ],
                )
            ],
        ),
    ],
)
def test_a_port_that_is_open_is_taken(store: str, policies: list[dict[str, Any]]) -> None:
    check_store(overlay(*policies), store)


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ([policy({"port": 443}, {"port": 53}, **MINE)], "443"),
        ([policy()], "none"),  # denies
        ([policy(), policy({"port": 9443}, matchLabels={"cbt-ray/role": "head"})], "none"),
        ([policy({"port": 9000, "endPort": 9400}, **MINE)], "9000"),
    ],
)
def test_a_port_that_is_shut_is_refused(policies: list[dict[str, Any]], told: str) -> None:
    expected = f"store's port 9443, train may leave for {told} alone"
    with pytest.raises(InputError, match=expected):
        check_store(overlay(*policies), HOUSE)
