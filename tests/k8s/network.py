"""NetworkPolicies, computed: which flow between two pods or addresses they allow.

An address block is taken in its widest reading, as matching pods too, since some network plugins
read it so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = dict[str, Any]
NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class End:
    """One end of a flow: a pod, or an address outside the cluster (which has no namespace)."""

    name: str
    ip: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    listens: tuple[int, ...] = ()


def flows(
    policies: list[Policy], ends: Iterable[End], inside: str
) -> dict[tuple[str, str], set[int]]:
    """The ports that each pair may use, of those that the second one listens on.

    Pairs with an end in the namespace `inside`.
    """
    ends, found = list(ends), {}
    for source in ends:
        for target in ends:
            if inside in (source.namespace, target.namespace):
                ports = {port for port in target.listens if allowed(policies, source, target, port)}
                if ports:
                    found[source.name, target.name] = ports
    return found


def allowed(
    policies: list[Policy], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the source may leave for the target, and the target let it in."""
    return _side(policies, source, target, port, protocol, "Egress") and _side(
        policies, target, source, port, protocol, "Ingress"
    )


def _side(
    policies: list[Policy], own: End, other: End, port: int, protocol: str, side: str
) -> bool:
    mine = [p for p in policies if side in _types(p["spec"]) and _selects(p, own)]
    return not mine or any(
        _peer(rule.get("to" if side == "Egress" else "from"), p["metadata"]["namespace"], other)
        and _port(rule.get("ports"), port, protocol)
        for p in mine
        for rule in p["spec"].get(side.lower()) or []
    )


def _types(spec: Policy) -> list[str]:
    return list(spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def _selects(policy: Policy, end: End) -> bool:
    return policy["metadata"]["namespace"] == end.namespace and _matches(
        policy["spec"]["podSelector"], end.labels
    )


def _peer(peers: list[dict[str, Any]] | None, namespace: str, end: End) -> bool:
    return not peers or any(_is(peer, namespace, end) for peer in peers)


def _is(peer: dict[str, Any], namespace: str, end: End) -> bool:
    if "ipBlock" in peer:
        return _in(end.ip, peer["ipBlock"]["cidr"]) and not any(
            _in(end.ip, block) for block in peer["ipBlock"].get("except") or []
        )
    if end.namespace is None:
        return False
    there = (
        _matches(peer["namespaceSelector"], {NAME: end.namespace})
        if "namespaceSelector" in peer
        else end.namespace == namespace
    )
    return there and _matches(peer.get("podSelector") or {}, end.labels)


def _in(ip: str, block: str) -> bool:
    network = ipaddress.ip_network(block)
    address = ipaddress.ip_address(ip)
    return address.version == network.version and address in network


def _port(ports: list[dict[str, Any]] | None, port: int, protocol: str) -> bool:
    return not ports or any(_is_port(entry, port, protocol) for entry in ports)


def _is_port(entry: dict[str, Any], port: int, protocol: str) -> bool:
    first = entry.get("port", 0)
    if not isinstance(first, int):
        raise NotImplementedError(f"a port by name: {first}")
    in_range = "port" not in entry or first <= port <= entry.get("endPort", first)
    return bool(in_range and entry.get("protocol", "TCP") == protocol)


def _matches(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    return all(
        labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()
    ) and all(_expressions(selector, labels))


def _expressions(selector: dict[str, Any], labels: Mapping[str, str]) -> Iterator[bool]:
    for rule in selector.get("matchExpressions") or []:
        key, values = rule["key"], rule.get("values") or []
        yield {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[rule["operator"]]
