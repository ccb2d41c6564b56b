"""A wire that is cut: passes bytes on to a server, notes which ranges were asked for and what went
up, breaks.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.s3_server import S3Servers


class CuttingProxy:
    """Listens on a port of its own.

    `left` and `left_up` are the bytes that still come down and go up, None without end.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.left: int | None = None
        self.left_up: int | None = None
        self.up = 0
        """Bytes that went up."""
        self.ranges: list[tuple[int, int]] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    if 0 in (self.left, self.left_up):
                        client.close()
                        continue
                    server = socket.create_connection(self._server)
                    self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pass, args=(source, target, source is server), daemon=True
                    ).start()

    def _pass(self, source: socket.socket, target: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if down:
                    data = self._allowed(data)
                else:
                    found = re.findall(rb"(?im)^range: bytes=(\d+)-(\d+)\r$", data)
                    self.ranges += [(int(begin), int(end)) for begin, end in found]
                    data = self._allowed_up(data)
                target.sendall(data)
                if (self.left if down else self.left_up) == 0:
                    break
        for one in (source, target):
            hang_up(one)

    def _allowed(self, data: bytes) -> bytes:
        with self._lock:
            if self.left is None:
                return data
            data = data[: self.left]
            self.left -= len(data)
            return data

    def _allowed_up(self, data: bytes) -> bytes:
        with self._lock:
            if self.left_up is not None:
                data = data[: self.left_up]
                self.left_up -= len(data)
            self.up += len(data)
            return data

    def close(self) -> None:
        for one in (self._listener, *self._open):
            hang_up(one)


def hang_up(one: socket.socket) -> None:
    """End both directions: a mere close would leave a thread that reads from it waiting."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def cutting_proxy(host: str, port: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(host, port)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)


@contextlib.contextmanager
def wire_to(servers: S3Servers) -> Iterator[CuttingProxy]:
    """A wire to the real S3 server of the tests."""
    endpoint = urlsplit(servers["seaweedfs"].endpoint)
    assert endpoint.hostname
    assert endpoint.port
    with cutting_proxy(endpoint.hostname, endpoint.port) as proxy:
        yield proxy
