"""Open connections, kept from one call to the next: each thread has its own, one for each route.

A pool would be one lock under hundreds of conversations; a thread has one call under way at most.
"""

from __future__ import annotations

import io
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cbt_ray.llm.route import Route

IDLE_S = 4.0
"""Kept unused at most. uvicorn (vLLM, SGLang), Node and cpp-httplib (llama-server) close after 5
seconds: none of them closes just as a request comes."""
_SHORTEST_WAIT_S = 0.001


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


class Connection:
    """A connection within one call: kept after the block where the call says so, closed else."""

    def __init__(self, route: Route, deadline: Deadline) -> None:
        self._route = route
        self._deadline = deadline
        self._socket = route.opened(deadline.left())
        self._bytes = _Bytes(self._socket)
        self._reader = _Reader(self._bytes)
        self._idle_since = 0.0
        self.reusable = False
        """Whether the answer was read to its end and the server waits for another request."""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.deadline = None
        if self.reusable and not self._reader.peek(1):
            self._idle_since = self._deadline.clock()
            _thread.kept[self._route] = self
        else:
            self.close()

    def begin(self, deadline: Deadline) -> Connection:
        """Serve a call."""
        self.reusable, self._deadline = False, deadline
        self._bytes.deadline = deadline
        return self

    def send(self, data: bytes) -> None:
        """Send within the deadline."""
        self._socket.settimeout(self._deadline.left())
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader[Any]:
        """What is received, however many answers are read from it: HTTPResponse wants a socket."""
        return self._reader

    def is_usable(self, now: float) -> bool:
        """Whether nothing came while it was idle: the end of the connection, or what nobody asked
        for.
        """
        idle = select.poll()
        idle.register(self._socket, select.POLLIN)
        left_over = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        return now - self._idle_since < IDLE_S and not left_over and not idle.poll(0)

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def connected(route: Route, deadline: Deadline) -> Connection:
    """The thread's open connection, else a new one; raises OSError and HTTPException."""
    kept, now = _thread.kept, deadline.clock()
    for gone in [each for each, connection in kept.items() if not connection.is_usable(now)]:
        kept.pop(gone).close()
    return (kept.pop(route, None) or Connection(route, deadline)).begin(deadline)


class _Bytes(io.RawIOBase):
    """A socket's bytes, each wait for them bounded by the deadline of the whole call; between calls
    there are none.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._socket = sock
        self.deadline: Deadline | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.deadline is None:
            return None
        self._socket.settimeout(self.deadline.left())
        return self._socket.recv_into(buffer)


class _Reader(io.BufferedReader):
    def close(self) -> None:
        """Never: HTTPResponse closes it after each answer."""


class _Kept(dict[Route, Connection]):
    """A thread's open connections; they close with the thread."""

    def __del__(self) -> None:
        for connection in self.values():
            connection.close()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.kept = _Kept()

    def forget(self) -> None:
        """In a process that was forked: what it inherited is its parent's conversation."""
        self.kept = _Kept()


_thread = _Thread()
os.register_at_fork(after_in_child=_thread.forget)
