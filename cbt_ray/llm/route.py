"""The way to a server: straight, or by the proxy that the environment names for it."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

_NAMES = ("http", "https", "all", "no")
_KNOWN = 256
"""Addresses whose way is remembered; a study has a few, some providers put the model into theirs.
"""


@dataclass(frozen=True)
class Route:
    """Where a connection leads; what differs in it shares none."""

    secure: bool
    host: str
    port: int
    proxy: tuple[str, int] | None
    leave: str | None
    """What a proxy with a password wants to be told."""

    @property
    def leave_headers(self) -> dict[str, str]:
        """The header that says it."""
        return {} if self.leave is None else {"Proxy-Authorization": self.leave}

    @property
    def is_relayed(self) -> bool:
        """Whether the proxy reads the request, and does not only carry its bytes."""
        return self.proxy is not None and not self.secure

    def opened(self, seconds: float) -> socket.socket:
        """An open socket, encrypted where it should be; raises OSError and HTTPException."""
        where = self.proxy or (self.host, self.port)
        client = (
            HTTPSConnection(*where, timeout=seconds, context=_trust())
            if self.secure
            else HTTPConnection(*where, timeout=seconds)
        )
        if self.secure and self.proxy:
            client.set_tunnel(self.host, self.port, self.leave_headers)
        try:
            client.connect()
        except BaseException:
            client.close()
            raise
        return client.sock


def route_to(url: str) -> tuple[Route, str]:
    """The way to an address as the environment is now, and what is asked for there.

    Raises ValueError for an address that is none.
    """
    return _route_to(url, *(_variable(name) for name in _NAMES))


def _variable(name: str) -> str:
    """Asked by its name: a pod has thousands of others."""
    lower = os.environ.get(f"{name}_proxy")
    return os.environ.get(f"{name.upper()}_PROXY", "") if lower is None else lower


@lru_cache(_KNOWN)
def _route_to(url: str, http: str, https: str, every: str, spared: str) -> tuple[Route, str]:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = (https if secure else http) or every
    proxy = "" if proxy_bypass_environment(host, {"no": spared}) else named
    via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    hop = (via.hostname or "", via.port or 80) if proxy else None
    route = Route(secure, host, parts.port or (443 if secure else 80), hop, _leave(via))
    return route, parts.geturl() if route.is_relayed else target


def _leave(proxy: SplitResult) -> str | None:
    if proxy.username is None:
        return None
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@lru_cache(1)
def _trust() -> ssl.SSLContext:
    """The machine's certificates and those that come with Python packages: slim images have none of
    their own.
    """
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
