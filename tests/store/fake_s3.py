"""An S3 server with faults that a sound one does not show: it ignores conditions, conflicts, cuts
answers short.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.serving import LocalServer, serving

LISTING = (
    b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'
)
ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'


class FakeS3(LocalServer):
    """Objects in memory; the counters say how often a fault still happens."""

    def __init__(
        self,
        conditions: bool = True,
        conflicts: int = 0,
        cuts: int = 0,
        lost: int = 0,
        refuse: str = "",
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.conditions, self.conflicts, self.cuts, self.lost, self.refuse = (
            conditions,
            conflicts,
            cuts,
            lost,
            refuse,
        )
        self.objects: dict[str, bytes] = {}
        self.writers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"s3://bucket/p?endpoint=http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: FakeS3
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        data, path = self.rfile.read(int(self.headers["Content-Length"])), urlsplit(self.path).path
        if self.server.refuse:
            self._error(403, self.server.refuse)
        elif self.server.conflicts:
            self.server.conflicts -= 1
            self._error(409, "ConditionalRequestConflict")
        elif (
            self.server.conditions and self.headers["If-None-Match"] and path in self.server.objects
        ):
            self._error(412, "PreconditionFailed")
        else:
            self._keep(path, data)

    def _keep(self, path: str, data: bytes) -> None:
        self.server.objects[path], self.server.writers[path] = (
            data,
            self.headers.get("x-amz-meta-writer", ""),
        )
        if self.server.lost:
            self.server.lost -= 1
            self.close_connection = True  # written, but the answer is never sent
            return
        self._send(200, b"")

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if "list-type" in path.query:
            self._send(200, LISTING)
        elif path.path not in self.server.objects:
            self._error(404, "NoSuchKey")
        else:
            self._send(200, self.server.objects[path.path])

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("x-amz-meta-writer", self.server.writers[self.path])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.path, None)
        self._send(204, b"")

    def _error(self, status: int, code: str) -> None:
        self._send(status, ERROR.format(code, self.headers.get("Authorization", "")).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET" and self.server.cuts and "list-type" not in self.path:
            self.server.cuts -= 1
            self.close_connection = True
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


@contextlib.contextmanager
def fake_s3(**faults: object) -> Iterator[FakeS3]:
    server = FakeS3(**faults)
    with serving(server):
        yield server
