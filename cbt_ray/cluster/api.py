"""The cluster's API: the few kinds of objects that submitting needs, as plain documents."""

from __future__ import annotations

import json
from typing import Any, Protocol

from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.extra import need

Document = dict[str, Any]
TIMEOUT_S = 20.0
PATHS = {
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Event": "/api/v1/namespaces/{namespace}/events",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "RayJob": "/apis/ray.io/v1/namespaces/{namespace}/rayjobs",
    "RayCluster": "/apis/ray.io/v1/namespaces/{namespace}/rayclusters",
    "Workload": "/apis/kueue.x-k8s.io/v1beta2/namespaces/{namespace}/workloads",
    "LocalQueue": "/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/{namespace}/localqueues",
}


class Conflict(InputError):
    """An object of this name is there already."""


class Cluster(Protocol):
    """What submitting asks of a cluster.

    Infrastructure where it cannot be reached, InputError where it refuses.
    """

    def get(self, kind: str, name: str) -> Document | None:
        """An object, or None where there is none."""
        ...

    def find(self, kind: str, labels: str = "", fields: str = "") -> list[Document]:
        """Objects by label and field selectors."""
        ...

    def create(self, document: Document) -> Document:
        """Create an object; Conflict where one of its name is there."""
        ...

    def patch(self, kind: str, name: str, change: Document) -> None:
        """Merge a change into an object."""
        ...

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and what it owns; no error where it is gone."""
        ...

    def log(self, pod: str, container: str, since: str | None) -> list[str]:
        """Lines of a container's log with their times, from a time on.

        Empty where there is none yet.
        """
        ...


class KubernetesCluster:
    """The cluster of a kubeconfig's context, one namespace of it."""

    def __init__(self, namespace: str, context: str | None = None) -> None:
        need("kubernetes")
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException

        self.namespace = namespace
        try:
            config.load_kube_config(context=context)  # type: ignore[no-untyped-call]
        except ConfigException as error:
            raise InputError(
                f"kubeconfig: expected a cluster ({' '.join(str(error).split())})"
            ) from None
        settings = client.Configuration.get_default_copy()
        settings.retries = 0  # what is out of reach is asked again by whoever waits for it
        self._client = client.ApiClient(settings)

    def get(self, kind: str, name: str) -> Document | None:
        """An object, or None where there is none."""
        return self._document("GET", self._path(kind, name), absent_is_none=True)

    def find(self, kind: str, labels: str = "", fields: str = "") -> list[Document]:
        """Objects by label and field selectors."""
        query = [("labelSelector", labels), ("fieldSelector", fields)]
        found = self._document("GET", self._path(kind), [pair for pair in query if pair[1]])
        return list((found or {}).get("items", []))

    def create(self, document: Document) -> Document:
        """Create an object."""
        return self._document("POST", self._path(document["kind"]), body=document) or {}

    def patch(self, kind: str, name: str, change: Document) -> None:
        """Merge a change into an object."""
        self._document(
            "PATCH", self._path(kind, name), body=change, content="application/merge-patch+json"
        )

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and what it owns; no error where it is gone."""
        body = {"propagationPolicy": "Background"}
        self._document("DELETE", self._path(kind, name), body=body, absent_is_none=True)

    def log(self, pod: str, container: str, since: str | None) -> list[str]:
        """Lines of a container's log with their times, from a time on.

        Empty where there is none yet.
        """
        query = [
            ("container", container),
            ("timestamps", "true"),
            *([("sinceTime", since)] if since else []),
        ]
        status, data = self._call("GET", f"{self._path('Pod', pod)}/log", query)
        return data.decode(errors="replace").splitlines() if status < 300 else []

    def _path(self, kind: str, name: str = "") -> str:
        path = PATHS[kind].format(namespace=self.namespace)
        return f"{path}/{name}" if name else path

    def _document(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Document | None = None,
        content: str = "application/json",
        *,
        absent_is_none: bool = False,
    ) -> Document | None:
        status, data = self._call(method, path, query or [], body, content)
        if status == 404 and absent_is_none:
            return None
        answer: Document = (
            json.loads(data)
            if data.startswith(b"{")
            else {"message": data.decode(errors="replace")[:300]}
        )
        if status >= 500 or status == 429:
            raise Infrastructure(f"cluster: {answer.get('message', status)}", "server")
        if status == 409 and method == "POST":
            raise Conflict(str(answer.get("message", status)))
        if status >= 400:
            raise InputError(f"cluster: {method} {path}: {answer.get('message', status)}")
        return answer

    def _call(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        body: Document | None = None,
        content: str = "application/json",
    ) -> tuple[int, bytes]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json, */*", "Content-Type": content}
        try:
            request = self._client.param_serialize(
                method,
                path,
                query_params=query,
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*request, _request_timeout=TIMEOUT_S)
            return int(response.status), bytes(response.read() or b"")  # type: ignore[no-untyped-call]
        except ApiException as error:
            if error.status:
                return int(error.status), str(error.body or error.reason or "").encode()
            raise Infrastructure(f"cluster: out of reach ({error.reason})", "connection") from None
        except (HTTPError, OSError) as error:
            raise Infrastructure(
                f"cluster: out of reach ({type(error).__name__})", "connection"
            ) from None
