"""A server of this process, serving in a thread of its own until the block is left."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any


class LocalServer(ThreadingHTTPServer):
    """A server beside its client in one process, on one stderr: a client that hangs up is no error
    of the server's.

    A client hangs up when it likes: an answer that it drops unread is a reset for the thread that
    waits for the next request, and the traceback of it would come among the lines that a test
    expects of the client, or not, as the threads run.
    """

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Serve while the block runs."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
