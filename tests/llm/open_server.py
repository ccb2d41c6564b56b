"""A server that keeps its connections open, or ends them when a test says so, and counts both them
and what it was asked.

def once(it: Served) -> None:
    it.request()
    it.send(OK)

with OpenServer(once) as server:
    ... server.url ...
    assert (server.connections, server.requests) == (1, 1)
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PATIENT_S = 60.0


def ok(body: bytes) -> bytes:
    """An answer after which the server waits for more."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Served:
    """One connection, as the server has it."""

    def __init__(self, server: OpenServer, sock: socket.socket) -> None:
        self._server = server
        self._left = b""
        self.socket = sock

    def head(self) -> bytes:
        """The next request up to its empty line; nothing where the client has hung up."""
        while b"\r\n\r\n" not in self._left:
            piece = self.socket.recv(1 << 16)
            if not piece:
                return b""
            self._left += piece
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        return head

    def request(self) -> bytes:
        """The body of the next request, read whole and counted."""
        head = self.head()
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        while len(self._left) < length:
            self._left += self.socket.recv(1 << 16)
        body, self._left = self._left[:length], self._left[length:]
        if head:
            self._server.count(head)
        return body

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """TLS from here on."""
        self.socket = context.wrap_socket(self.socket, server_side=True)


class OpenServer:
    """Context manager: each connection is served by `serve`, in a thread, and closed after it."""

    def __init__(self, serve: Callable[[Served], None]) -> None:
        self._serve = serve
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._served: list[Served] = []
        self.threads: list[threading.Thread] = []
        self.heads: list[bytes] = []
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.url = f"http://{self.address}/v1"

    @property
    def connections(self) -> int:
        return len(self._served)

    @property
    def requests(self) -> int:
        return len(self.heads)

    def count(self, head: bytes) -> None:
        with self._lock:
            self.heads.append(head)

    def __enter__(self) -> OpenServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in list(self._served):
            with contextlib.suppress(OSError):
                each.socket.shutdown(socket.SHUT_RDWR)
        self.join()

    def join(self) -> None:
        """Wait until every connection has ended."""
        for thread in list(self.threads):
            thread.join(PATIENT_S)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                it = Served(self, self._listening.accept()[0])
                self._served.append(it)
                self.threads.append(threading.Thread(target=self._one, args=(it,), daemon=True))
                self.threads[-1].start()

    def _one(self, it: Served) -> None:
        try:
            self._serve(it)
        except OSError:
            """The client hung up, or knows no such certificate."""
        finally:
            it.socket.close()
