"""The flows that the rendered NetworkPolicies allow are those of a table, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.k8s.network import End, allowed, flows
from tests.k8s.rendered import OVERLAYS, PROVIDERS, ROLE, Manifest, all_pods, overlay

pytestmark = pytest.mark.slow

INSIDE = "cbt-ray"
RAY = (6379, 8265, 10002, 52365)
WEB = {80, 443, 8000, 8080}
LISTENS = {
    "head": RAY,
    "autoscaled head": RAY,
    "worker": RAY,
    "store": (9000, 9001),
    "llm": (8000, 8001),
}
OUTSIDE = [
    End("DNS", "10.244.0.2", "kube-system", {"k8s-app": "kube-dns"}, (53, 8181)),
    End(
        "operator",
        "10.244.1.2",
        "default",
        {"app.kubernetes.io/component": "kuberay-operator"},
        (8080,),
    ),
    End("pod elsewhere", "10.244.1.9", "elsewhere", {ROLE: "head"}, (5432, 9000)),
    End("API server", "172.18.0.2", listens=(6443,)),
    End("node", "172.18.0.3", listens=(22, 10250)),
    End("internet", "203.0.113.10", listens=(22, 53, 80, 443, 8000, 8080, 9000)),
    End("house", "192.0.2.10", listens=(22, 9000, 9443)),
    End("metadata", "169.254.169.254", listens=(80,)),
    End("metadata by IPv6", "fd00:ec2::254", listens=(80,)),
    End("identity agent", "169.254.170.23", listens=(80,)),
    End("identity agent by IPv6", "fd00:ec2::23", listens=(80,)),
]
RAY_PODS = ("head", "autoscaled head", "worker")
TABLE: dict[tuple[str, str], set[int]] = {
    # Ray: head and workers among themselves; the dashboard for the submitter and for KubeRay.
    **{(a, b): set(RAY) for a in RAY_PODS for b in RAY_PODS},
    ("submitter", "head"): {8265},
    ("submitter", "autoscaled head"): {8265},
    ("operator", "head"): {8265},
    ("operator", "autoscaled head"): {8265},
    # The API server, for the head of a cluster that scales itself.
    ("autoscaled head", "API server"): {6443},
    # Endpoints of language models, for the stages that call them. An address is all that names
    # them.
    ("head", "internet"): WEB,
    ("autoscaled head", "internet"): WEB,
    ("worker", "internet"): WEB,
    ("evaluate", "internet"): WEB,
    # The same block of addresses, read as matching pods of other namespaces too.
    **{(pod, "operator"): {8080} for pod in (*RAY_PODS, "evaluate")},
    # The servers of tuned models, which reach the store and DNS alone.
    **{(pod, "llm"): {8000} for pod in (*RAY_PODS, "evaluate")},
    # The hub.
    ("fetch", "internet"): {80, 443},
}
PODS = (
    "head",
    "autoscaled head",
    "worker",
    "submitter",
    "train",
    "export",
    "evaluate",
    "fetch",
    "llm",
    "pod without a role",
)
TO_STORE = ("head", "autoscaled head", "worker", "train", "export", "evaluate", "fetch", "llm")
KIND = {
    **TABLE,
    **{(pod, "DNS"): {53} for pod in (*PODS, "store", "bucket")},
    **{(pod, "store"): {9000} for pod in (*TO_STORE, "bucket")},
    # The NodePort lets in whoever reaches a node; pods of this namespace are still held by what
    # they may leave for.
    **{(end.name, "store"): {9000} for end in OUTSIDE if "IPv6" not in end.name},
}
GPU = {
    **TABLE,
    **{(pod, "DNS"): {53} for pod in PODS},
    # The store is outside and has no address yet.
    (TRAIN := ("train", "internet")): {443},
    (EXPORT := ("export", "internet")): {443},
    (LLM := ("llm", "internet")): {443},
}
AGENTS = ("identity agent", "identity agent by IPv6")
EKS = {
    **GPU,
    **{(pod, agent): {80} for pod in TO_STORE for agent in AGENTS},
}
HOUSE = {
    **{pair: ports for pair, ports in GPU.items() if pair not in (TRAIN, EXPORT, LLM)},
    **{(pod, "house"): {9443} for pod in TO_STORE},
}
TABLES = {"kind": KIND, "gpu": GPU, "eks": EKS, "gke": GPU, "on-premises": HOUSE}


def ends(manifests: list[Manifest]) -> list[End]:
    """The pods of the rendered manifests, one for each role, with what lies around them."""
    found: dict[str, dict[str, str]] = {}
    for _, pod in all_pods(manifests):
        own = pod["metadata"]["labels"]
        assert found.setdefault(own[ROLE], own) == own, "two pods of one role differ"
    found["autoscaled head"] = found["head"] | {"cbt-ray/autoscaled": "true"}
    found["pod without a role"] = {}
    pods = [
        End(name, f"10.244.2.{n}", INSIDE, own, LISTENS.get(name, (443, 8000)))
        for n, (name, own) in enumerate(found.items(), 1)
    ]
    return [*pods, *OUTSIDE]


def policies(manifests: list[Manifest]) -> list[Manifest]:
    return [m for m in manifests if m["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize("name", [*OVERLAYS, *PROVIDERS])
def test_flows_are_those_of_the_table(name: str) -> None:
    manifests = overlay(name)
    assert flows(policies(manifests), ends(manifests), INSIDE) == TABLES[name]


@pytest.mark.parametrize("role", ["train", "export"])
def test_what_makes_models_talks_to_the_store_and_to_dns_alone(role: str) -> None:
    assert {target for (source, target) in KIND if source == role} == {"store", "DNS"}
    assert [pair for pair in KIND if pair[1] == role] == []


def test_without_the_policy_that_denies_the_table_is_another() -> None:
    manifests = [m for m in overlay("kind") if m["metadata"]["name"] != "deny"]
    assert flows(policies(manifests), ends(manifests), INSIDE) != KIND


def test_dns_goes_over_udp_and_tcp_and_nothing_else_over_udp() -> None:
    by_name = {end.name: end for end in ends(overlay("kind"))}
    rules = policies(overlay("kind"))
    assert allowed(rules, by_name["train"], by_name["DNS"], 53, "UDP")
    assert not allowed(rules, by_name["evaluate"], by_name["internet"], 443, "UDP")


def _policy(namespace: str = "a", **spec: Any) -> Manifest:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


HERE = End("here", "10.0.0.1", "a", {"role": "x"}, (80,))
THERE = End("there", "10.0.0.2", "b", {"role": "y"}, (80,))
FAR = End("far", "192.0.2.1", listens=(80,))
EGRESS = {"policyTypes": ["Egress"]}


@pytest.mark.parametrize(
    ("spec", "target", "port", "expected"),
    [
        ({}, THERE, 80, True),  # an ingress policy alone holds no one back from leaving
        (EGRESS, THERE, 80, False),
        ({**EGRESS, "egress": [{}]}, THERE, 80, True),
        (
            {**EGRESS, "egress": [{"to": [{"podSelector": {"matchLabels": {"role": "y"}}}]}]},
            THERE,
            80,
            False,
        ),  # its own namespace
        ({**EGRESS, "egress": [{"to": [{"namespaceSelector": {}}]}]}, THERE, 80, True),
        ({**EGRESS, "egress": [{"to": [{"namespaceSelector": {}}]}]}, FAR, 80, False),
        (
            {
                **EGRESS,
                "egress": [
                    {
                        "to": [
                            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"role": "x"}}}
                        ]
                    }
                ],
            },
            THERE,
            80,
            False,
        ),
        ({**EGRESS, "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]}, FAR, 80, True),
        (
            {
                **EGRESS,
                "egress": [
                    {"to": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.1/32"]}}]}
                ],
            },
            FAR,
            80,
            False,
        ),
        ({**EGRESS, "egress": [{"ports": [{"port": 79, "endPort": 81}]}]}, FAR, 80, True),
        ({**EGRESS, "egress": [{"ports": [{"port": 79}]}]}, FAR, 80, False),
        ({**EGRESS, "egress": [{"ports": [{"protocol": "UDP"}]}]}, FAR, 80, False),
        (
            {"egress": [{}], "podSelector": {"matchLabels": {"role": "z"}}, **EGRESS},
            THERE,
            80,
            True,
        ),  # not this pod
        (
            {
                **EGRESS,
                "podSelector": {
                    "matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["x"]}]
                },
            },
            THERE,
            80,
            True,
        ),
        (
            {
                **EGRESS,
                "podSelector": {"matchExpressions": [{"key": "role", "operator": "Exists"}]},
            },
            THERE,
            80,
            False,
        ),
    ],
)
def test_what_a_policy_means(spec: dict[str, Any], target: End, port: int, expected: bool) -> None:
    assert allowed([_policy(**spec)], HERE, target, port) is expected


def test_a_flow_needs_both_its_ends() -> None:
    out = _policy(policyTypes=["Egress"], egress=[{}])
    shut = _policy("b", policyTypes=["Ingress"])
    assert allowed([out], HERE, THERE, 80)
    assert not allowed([out, shut], HERE, THERE, 80)
    opened = _policy(
        "b",
        policyTypes=["Ingress"],
        ingress=[
            {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}]}
        ],
    )
    assert allowed([out, shut, opened], HERE, THERE, 80)
