"""One HTTP exchange, bounded as a whole: every byte is read against one deadline, and so many of
them at most.

Nothing is repeated and no redirect is followed, so that what was sent once is counted once and a
key goes where the study file says.
"""

from __future__ import annotations

import base64
import io
import os
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

MOST_BYTES = 16 << 20
"""Of an answer, unpacked. A reply of 100,000 tokens has one."""
_PIECE = 1 << 16
_SHORTEST_WAIT_S = 0.001
_INTERIM = frozenset({102, 103})
"""Processing, early hints: the answer follows. http.client passes over 100 by itself."""


@dataclass(frozen=True)
class Answer:
    """What a server answered; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; broken UTF-8 is replaced, as half a character in JSON is."""
        return self.body.decode("utf-8", "replace").removeprefix("\ufeff")


class Unanswered(Exception):
    """No answer came.

    `kind` as of an Infrastructure; `sent` is False where no byte of the request left.
    """

    def __init__(self, kind: str, said: str, *, sent: bool = True) -> None:
        super().__init__(said)
        self.kind = kind
        self.sent = sent


@dataclass(frozen=True)
class Deadline:
    """When a call is lost."""

    end: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds left; raises TimeoutError where there are none."""
        left = self.end - self.clock()
        if left <= 0:
            raise TimeoutError
        return max(left, _SHORTEST_WAIT_S)


def exchange(
    method: str, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline
) -> Answer:
    """Send one request, answer what came back whatever its status; raises Unanswered."""
    try:
        connection, target, leave = _connection(urlsplit(url))
        connection.timeout = deadline.left()
        connection.connect()
    except TimeoutError:
        raise Unanswered("timeout", "no connection in time", sent=False) from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unanswered("connection", f"no connection ({_words(error)})", sent=False) from None
    try:
        return _exchanged(connection, method, target, {**headers, **leave}, body, deadline)
    finally:
        connection.close()


def _exchanged(
    connection: HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    deadline: Deadline,
) -> Answer:
    bounded = _Bounded(connection.sock, deadline)
    try:
        connection.sock.settimeout(deadline.left())
        _send(connection, method, target, headers, body)
        response = HTTPResponse(cast(socket.socket, bounded), method=method)
        response.begin()
        interim = []
        while response.status in _INTERIM:
            interim.append(response)  # one that is forgotten would close what the next is read from
            response = HTTPResponse(cast(socket.socket, bounded), method=method)
            response.begin()
        answered = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, answered, _read(response, answered))
    except TimeoutError:
        raise Unanswered("timeout", "no whole answer in time") from None
    except OSError as error:
        raise Unanswered("connection", f"connection cut ({_words(error)})") from None
    except HTTPException as error:
        kind = "malformed" if bounded.received else "connection"
        raise Unanswered(kind, f"no whole answer of HTTP ({_words(error)})") from None
    except (ValueError, zlib.error) as error:
        raise Unanswered("malformed", f"no answer of HTTP ({_words(error)})") from None


def _send(
    connection: HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> None:
    try:
        connection.request(method, target, body, {**headers, "Connection": "close"})
    except (BrokenPipeError, ConnectionResetError):
        """A server that refuses early answers before it has read all: its answer may be there."""


def _read(response: HTTPResponse, headers: Mapping[str, str]) -> bytes:
    """The body, unpacked.

    Raises HTTPException where it ends too early, ValueError where it is too long.
    """
    packed = headers.get("content-encoding", "").strip().lower() not in ("", "identity")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if packed else None  # gzip and zlib
    body = bytearray()
    while piece := response.read(_PIECE):
        body += unpack.decompress(piece, MOST_BYTES + 1 - len(body)) if unpack else piece
        if len(body) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")
    if response.length or (unpack and body and not unpack.eof):
        raise ConnectionResetError("cut in the middle")
    return bytes(body)


class _Bounded(io.RawIOBase):
    """A socket's bytes, each wait for them bounded by the deadline of the whole call."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        super().__init__()
        self._socket = sock
        self._deadline = deadline
        self.received = False
        self._buffered: io.BufferedReader[Any] = io.BufferedReader(self)

    def makefile(self, mode: str) -> io.BufferedReader[Any]:  # noqa: ARG002  HTTPResponse wants a socket
        return self._buffered

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._deadline.left())
        number = self._socket.recv_into(buffer)
        self.received = self.received or number > 0
        return number


def _connection(url: SplitResult) -> tuple[HTTPConnection, str, dict[str, str]]:
    """A connection that is not open yet, by the environment's proxy if any; target and headers."""
    host, secure = url.hostname or "", url.scheme == "https"
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    known = {} if proxy_bypass(host) else getproxies_environment()
    proxy = known.get(url.scheme) or known.get("all") or ""
    via = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else url
    where = (via.hostname or "", via.port or (443 if secure and not proxy else 80))
    leave = _leave(via) if proxy else {}
    if not secure:
        plain = HTTPConnection(*where)
        return plain, url.geturl() if proxy else target, leave
    connection = HTTPSConnection(*where, context=_trust())
    if proxy:
        connection.set_tunnel(host, url.port or 443, leave)
    return connection, target, {}


def _leave(proxy: SplitResult) -> dict[str, str]:
    """The header that a proxy with a password wants."""
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


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


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
