"""Whether an object is what the API server takes: core kinds by kubernetes-validate, custom ones by
their CRD.

Neither may have a field that its schema does not know.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.needs import needs

KUBERNETES = "1.34"
"""The cluster's version; kubernetes-validate takes the newest schemas up to it."""
KUBERAY = "KUBERAY_MANIFEST"


def check_core(manifest: dict[str, Any]) -> None:
    """Raise where a core object does not follow its schema, or has a field that the schema
    lacks.
    """
    used = kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    assert used == KUBERNETES, f"checked against {used}"


def check_custom(manifest: dict[str, Any]) -> None:
    """The same for a custom object.

    Skips the test where the environment names no manifest of KubeRay.
    """
    path = os.environ.get(KUBERAY, "")
    needs("kuberay", bool(path) and Path(path).is_file())
    schema = crds(path)[manifest["apiVersion"], manifest["kind"]]
    jsonschema.Draft202012Validator(schema).validate(manifest)
    assert list(twice(schema, manifest)) == []


@functools.cache
def crds(path: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The strict schema of each custom kind in a manifest, by API version and kind."""
    found = {}
    for document in yaml.load_all(
        Path(path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    ):
        if document and document["kind"] == "CustomResourceDefinition":
            spec = document["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema that refuses what the API server would drop: fields that it does not
    name.
    """
    own = {key: _within(key, value) for key, value in schema.items()}
    if (
        "properties" in own
        and "additionalProperties" not in own
        and not own.get("x-kubernetes-preserve-unknown-fields")
    ):
        own["additionalProperties"] = False
    if own.pop("nullable", False) and "type" in own:
        own["type"] = [own["type"], "null"]
    return own


def _within(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: strict(inner) for name, inner in value.items()}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return strict(value)
    return value


def twice(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Entries of lists that the API server merges by a key, where a key is given twice: it refuses
    them.
    """
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for name, part in value.items():
            yield from twice(known.get(name, {}), part, f"{path}.{name}")
    elif isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys", [])
        found = [tuple(entry.get(key) for key in keys) for entry in value if keys]
        yield from (f"{path}: {key}" for key in sorted(set(found), key=str) if found.count(key) > 1)
        for number, entry in enumerate(value):
            yield from twice(schema.get("items", {}), entry, f"{path}.{number}")
