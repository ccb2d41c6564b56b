"""One HTTP exchange, bounded as a whole: every byte is read against one deadline, and so many of
them at most.

Nothing is repeated and no redirect is followed, so that what was sent once is counted once and a
key goes where the study file says.

Connections are kept between calls. A server may close one just as a request comes, and from here
that looks like one that read the request, began to work and fell: a POST may not be repeated then
(RFC 9112, section 9.3.1). So an idle connection is looked at before it is used and is given up
before servers do; what is left of that race is a fault like every cut connection, and counted.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, cast

from cbt_ray.llm.connection import Connection, Deadline, connected
from cbt_ray.llm.route import Route, route_to

MOST_BYTES = 16 << 20
"""Of an answer, unpacked. A reply of 100,000 tokens has one."""
_PIECE = 1 << 16
_HTTP_1_1 = 11
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


def exchange(
    method: str, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline
) -> Answer:
    """Send one request, answer what came back whatever its status; raises Unanswered."""
    try:
        route, target = route_to(url)
        request = _written(route, method, target, headers, body)
        connection = connected(route, deadline)
    except TimeoutError:
        raise Unanswered("timeout", "no connection in time", sent=False) from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unanswered("connection", f"no connection ({_words(error)})", sent=False) from None
    with connection:
        try:
            return _exchanged(connection, method, request)
        except TimeoutError:
            raise Unanswered("timeout", "no whole answer in time") from None
        except OSError as error:
            raise Unanswered("connection", f"connection cut ({_words(error)})") from None
        except HTTPException as error:
            raise Unanswered("malformed", f"no whole answer of HTTP ({_words(error)})") from None
        except (ValueError, zlib.error) as error:
            raise Unanswered("malformed", f"no answer of HTTP ({_words(error)})") from None


def _exchanged(connection: Connection, method: str, request: bytes) -> Answer:
    _send(connection, request)
    with _response(connection, method) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status, headers, _read(response, headers))
    connection.reusable = _is_kept_open(response, headers)
    return answer


class _Writing(HTTPConnection):
    """A request as http.client writes and checks it, in one piece: two are two packets."""

    def __init__(self, route: Route) -> None:
        super().__init__(route.host, route.port)
        self.default_port = 443 if route.secure else 80
        self.written = b""

    def send(self, data: Any) -> None:
        self.written += data


def _written(
    route: Route, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> bytes:
    writing = _Writing(route)
    also = route.leave_headers if route.is_relayed else {}
    writing.request(method, target, body, {**headers, **also})
    return writing.written


def _send(connection: Connection, request: bytes) -> None:
    try:
        connection.send(request)
    except (BrokenPipeError, ConnectionResetError):
        """A server that refuses early answers before it has read all: its answer may be there."""


def _response(connection: Connection, method: str) -> HTTPResponse:
    """The beginning of an answer, after those that only announce it.

    Whatever comes is closed: one that is found later among garbage would complain of its socket.
    """
    while True:
        response = HTTPResponse(cast(socket.socket, connection), method=method)
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        if response.status not in _INTERIM:
            return response
        response.close()


def _is_kept_open(response: HTTPResponse, headers: Mapping[str, str]) -> bool:
    """Whether the server waits for another request on this connection, and nobody waits for it.

    One that says how many requests a connection may carry (llama-server before 2026, Apache) holds
    one of a few threads for each that is open, so that conversations would shut each other out.
    """
    if response.version != _HTTP_1_1 or response.status < 200 or response.will_close:
        return False
    return "max=" not in headers.get("keep-alive", "").lower()


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


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
