"""A wire that is cut: passes bytes on to a server, notes which ranges were asked for, breaks after a number of bytes."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator


class CuttingProxy:
    """Listens on a port of its own; `left` are the bytes that still come through, None without end."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.left: int | None = None
        self.ranges: list[tuple[int, int]] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    if self.left == 0:
                        client.close()
                        continue
                    server = socket.create_connection(self._server)
                    self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target, source is server), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if down:
                    data = self._allowed(data)
                else:
                    found = re.findall(rb"(?im)^range: bytes=(\d+)-(\d+)\r$", data)
                    self.ranges += [(int(begin), int(end)) for begin, end in found]
                target.sendall(data)
                if down and self.left == 0:
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
