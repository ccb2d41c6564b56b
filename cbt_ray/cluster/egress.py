"""Egress: the ports that an overlay's NetworkPolicies let pods out to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cbt_ray.cluster.overlay import Overlay
from cbt_ray.cluster.pod import TEMPLATE, Manifest, pod_templates
from cbt_ray.errors import InputError

CALLS_STORE = "cbt-ray/calls-store"
"""The label of all pods that read or write units."""
Labels = dict[str, str]


def check_store(overlay: Overlay, store: str) -> None:
    """Raise InputError where pods could not leave for the port of the store: nothing would answer
    them, and nothing would say why.
    """
    port = _port(store)
    for labels in _callers(overlay):
        rules = [rule for policy in _policies(overlay, labels) for rule in policy]
        known = {entry.get("port") for rule in rules for entry in rule.get("ports") or [{}]}
        if port not in known and None not in known and not _in_range(rules, port):
            raise InputError(
                f"--overlay {overlay.name}: expected a NetworkPolicy that lets pods out to the "
                f"store's port {port}, {labels['cbt-ray/role']} may leave for {_told(known)} alone"
            )


def _port(store: str) -> int:
    """The port of a store's URL; AWS has the one of https."""
    endpoint = urlsplit(parse_qs(urlsplit(store).query).get("endpoint", ["https://"])[0])
    return endpoint.port or {"http": 80}.get(endpoint.scheme, 443)


def _callers(overlay: Overlay) -> Iterator[Labels]:
    for manifest in overlay.manifests:
        if TEMPLATE in (manifest["metadata"].get("labels") or {}):
            for pod in pod_templates(manifest):
                if CALLS_STORE in pod["metadata"]["labels"]:
                    yield pod["metadata"]["labels"]


def _policies(overlay: Overlay, labels: Labels) -> list[list[Manifest]]:
    """The rules of all policies that say where a pod may leave for; one that lets it go anywhere,
    where there are none.
    """
    specs = [one["spec"] for one in overlay.manifests if one["kind"] == "NetworkPolicy"]
    found = [
        spec.get("egress") or []
        for spec in specs
        if "Egress" in spec.get("policyTypes", []) and _selects(spec["podSelector"], labels)
    ]
    return found or [[{}]]


def _selects(selector: dict[str, Any], labels: Labels) -> bool:
    wanted = (selector.get("matchLabels") or {}).items() <= labels.items()
    return wanted and all(_meets(rule, labels) for rule in selector.get("matchExpressions") or [])


def _meets(rule: dict[str, Any], labels: Labels) -> bool:
    has, among = rule["key"] in labels, labels.get(rule["key"]) in (rule.get("values") or [])
    return {"In": among, "NotIn": not among, "Exists": has, "DoesNotExist": not has}[
        rule["operator"]
    ]


def _in_range(rules: list[Manifest], port: int) -> bool:
    ranges = [entry for rule in rules for entry in rule.get("ports") or [] if "endPort" in entry]
    return any(entry["port"] <= port <= entry["endPort"] for entry in ranges)


def _told(ports: set[Any]) -> str:
    return ", ".join(sorted(map(str, ports - {53}), key=lambda port: port.zfill(5))) or "none"
